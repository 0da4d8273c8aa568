"""Files that a repository only links to, from a server on this machine."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline import hub
from pipeline.errors import UserError
from pipeline.linked_files import LinkedFile

COMMIT = "b" * 40
CONTENT = b"all of it"
MANY_LINES = 2_000_000
BROKEN = {"/short": [("Content-Length", "1000")], "/chunks": [("Transfer-Encoding", "chunked")]}
"""Path -> headers that promise more than `CONTENT`."""


class Server(ThreadingHTTPServer):
    """Serves `/whole`, `/long.gz` of two million lines, and `/short` and `/chunks`, whose connections break.

    Attributes:
        lines_sent: of the long file.
        asked: paths.
        closed: set when the long file is given up or at its end.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lines_sent = 0
        self.closed = threading.Event()
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in ("/whole", "/long.gz", *BROKEN):
            self.send_error(404)
            return
        self.close_connection = True
        self.send_response(200)
        for header in BROKEN.get(self.path, ()):
            self.send_header(*header)
        self.end_headers()
        if self.path != "/long.gz":
            self.wfile.write(b"100\r\n" * (self.path == "/chunks") + CONTENT)
            return
        packer = zlib.compressobj(wbits=31)
        try:
            for first in range(0, MANY_LINES, 1000):
                lines = "".join(f"1.{n}\tline {n * n}\tligne {n * n}\n" for n in range(first, first + 1000))
                self.wfile.write(packer.compress(lines.encode()))
                self.server.lines_sent += 1000
            self.wfile.write(packer.flush())
        except OSError:
            pass  # the reader has had enough
        finally:
            self.server.closed.set()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TCX_DATA", raising=False)
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()
    hub.pin({}, may_download=True)


def test_only_the_first_lines_are_asked_for(server: Server, tmp_path: Path) -> None:
    file = LinkedFile(name="part/first.tsv.gz", address=f"{server.address}/long.gz", num_lines=100_000)
    file.fetch(tmp_path)
    lines = gzip.decompress((tmp_path / "part/first.tsv.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 100_000
    assert lines[-1] == f"1.99999\tline {99_999**2}\tligne {99_999**2}"
    assert server.closed.wait(30)
    assert 100_000 <= server.lines_sent < MANY_LINES / 2
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["first.tsv.gz"]


def test_the_same_lines_make_the_same_file(server: Server, tmp_path: Path) -> None:
    for name in ("one.gz", "two.gz"):
        LinkedFile(name=name, address=f"{server.address}/long.gz", num_lines=10).fetch(tmp_path)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_file_that_cannot_be_had(server: Server, tmp_path: Path) -> None:
    for path, lines in (("nowhere", None), ("whole", 10)):
        with pytest.raises(UserError, match=rf"file.gz cannot be fetched from .*/{path} .*TCX_DATA"):
            LinkedFile(name="file.gz", address=f"{server.address}/{path}", num_lines=lines).fetch(tmp_path)
    assert not list(tmp_path.glob("*file*")) and not list(tmp_path.glob(".*file*"))


@pytest.mark.parametrize("path", BROKEN)
def test_a_connection_that_breaks_leaves_nothing(server: Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"file\.gz cannot be fetched"):
        LinkedFile(name="file.gz", address=f"{server.address}{path}").fetch(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_it_is_kept_beside_the_commit(server: Server) -> None:
    """Fetched once, found again without a network, fetched anew where it has gone."""
    file = LinkedFile(name="whole.txt", address=f"{server.address}/whole")
    hub.pin({"acme/script": COMMIT}, may_download=True)
    folder = hub.data_folder("acme/script", [], linked=[file])
    assert (folder / "whole.txt").read_bytes() == CONTENT
    assert hub.used_commits()["acme/script"] == COMMIT
    assert list(hub.files_of("acme/script", COMMIT)) == [str(folder / "whole.txt")]
    hub.pin({"acme/script": COMMIT}, may_download=False)
    assert hub.data_folder("acme/script", [], linked=[file]) == folder
    assert server.asked == ["/whole"]
    (folder / "whole.txt").unlink()
    with pytest.raises(UserError, match=r"lacks whole\.txt; `tcx prefetch GRID`"):
        hub.data_folder("acme/script", [], linked=[file])
    other = LinkedFile(name="other.txt", address=f"{server.address}/whole")
    hub.pin({"acme/script": COMMIT}, may_download=True)
    hub.data_folder("acme/script", [], linked=[file, other])
    assert (folder / "whole.txt").read_bytes() == (folder / "other.txt").read_bytes() == CONTENT


def test_what_another_process_still_fetches_is_not_counted(server: Server) -> None:
    """Its unfinished file grows, and then has another name: who had counted it found the data changed."""
    hub.pin({"acme/script": COMMIT}, may_download=True)
    folder = hub.commit_folder("acme/script", COMMIT)
    slow = LinkedFile(name="long.gz", address=f"{server.address}/long.gz", num_lines=MANY_LINES // 4)
    fetching = threading.Thread(target=slow.fetch, args=[folder])
    fetching.start()
    while not list(folder.glob(".long.gz.*")):
        assert fetching.is_alive()
    hub.data_folder("acme/script", [], linked=[LinkedFile(name="whole.txt", address=f"{server.address}/whole")])
    assert list(hub.files_of("acme/script", COMMIT)) == [str(folder / "whole.txt")]
    fetching.join()
    assert not hub.lacking_files("acme/script", COMMIT)
