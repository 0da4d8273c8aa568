"""A hub on this machine that speaks what huggingface_hub asks for, with a model and a data repository."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.tasks.gsm8k import Gsm8k

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = "acme/tiny", "datasets/openai/gsm8k"
GRID = """\
study: fetched
tasks: [gsm8k]
models: [acme/tiny]
programs: [{family: baseline}]
evaluation: {validation_items: 1, test_items: 1}
"""

Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories by name, those of data with `datasets/` before it.

    Attributes:
        commits: repository -> commit -> files.
        main: repository -> commit of its branch.
        asked: every path that was asked for.
    """

    commits: dict[str, dict[str, Files]] = field(default_factory=dict)
    main: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def push(self, repo: str, files: Files) -> str:
        """Adds a commit, to which the branch main moves."""
        commit = hashlib.sha1(b"".join(name.encode() + content for name, content in files.items())).hexdigest()
        self.commits.setdefault(repo, {})[commit] = files
        self.main[repo] = commit
        return commit

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a path."""
        self.asked.append(path)
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        about = parts[0] == "api"
        if about:
            parts = parts[1:] if parts[1] == "datasets" else parts[2:]
        size = 3 if parts[:1] == ["datasets"] else 2
        repo, rest = "/".join(parts[:size]), parts[size:]
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self.main.get(repo, "") if revision == "main" else revision
        files = self.commits.get(repo, {}).get(commit)
        if files is None:
            code = "RevisionNotFound" if repo in self.commits else "RepoNotFound"
            return 404, {"X-Error-Code": code}, b"{}"
        if not about:
            content = files.get("/".join(rest[2:]))
            if content is None:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
            return 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}, content
        if rest and rest[0] == "tree":
            listed: Any = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
        else:
            listed = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Starts the server in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def made_rows(count: int, first: int) -> list[dict[str, str]]:
    numbers = range(first, first + count)
    return [{"question": f"What is {number} + 1?", "answer": f"It is.\n#### {number + 1}"} for number in numbers]


def parquet(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def data_files(first: int = 0) -> Files:
    return {
        "README.md": b"not asked for",
        "main/train-00000-of-00001.parquet": parquet(made_rows(Gsm8k.sources["train"].num_rows, first)),
        "main/test-00000-of-00001.parquet": parquet(made_rows(Gsm8k.sources["test"].num_rows, 100_000)),
    }


@dataclass(frozen=True)
class World:
    """A folder with a grid, a cache and results; the hub that its commands ask."""

    folder: Path
    hub: Hub
    endpoint: str

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def lock(self) -> Path:
        return self.folder / "grid.lock"

    @property
    def env(self) -> dict[str, str]:
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.folder / "hf"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "TCX_CACHE": str(self.cache),
            "TCX_RESULTS": str(self.folder / "results"),
        }
        names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TCX_DATA")
        return {name: value for name, value in os.environ.items() if name not in names} | own

    def tcx(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.tcx(*arguments, "--json", status=status).stdout)


@pytest.fixture(scope="session")
def hub(tiny_model: Path) -> Iterator[Hub]:
    found = Hub()
    found.push(MODEL, {path.name: path.read_bytes() for path in sorted(tiny_model.iterdir())})
    found.push(DATA, data_files())
    server = serve(found)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def fetched(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world after `tcx prefetch`; tests must leave it as it is, or copy it."""
    world = World(tmp_path_factory.mktemp("fetched"), hub, hub.address)
    (world.folder / "grid.yaml").write_text(GRID)
    world.json("prefetch", "grid.yaml")
    return world
