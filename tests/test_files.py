"""Files that come whole or not at all, and reads that wait for a network file system."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.files import TEMPORARY_SUFFIX, read_patiently, write_atomically


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)]


class TestWriteAtomically:
    @pytest.mark.parametrize("replace", [True, False])
    def test_writes_bytes_and_writers(self, tmp_path: Path, replace: bool) -> None:
        path = tmp_path / "a" / "b" / "file"
        assert write_atomically(path, b"one", replace=replace)
        assert path.read_bytes() == b"one"
        assert write_atomically(path, lambda file: file.write(b"two"), replace=replace) is replace
        assert path.read_bytes() == (b"two" if replace else b"one")
        assert not leftovers(tmp_path)

    def test_file_is_not_private(self, tmp_path: Path) -> None:
        umask = os.umask(0o022)
        try:
            write_atomically(tmp_path / "file", b"", replace=True)
        finally:
            os.umask(umask)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644

    def test_failing_writer_and_check_leave_nothing(self, tmp_path: Path) -> None:
        def fail(_: object) -> None:
            raise RuntimeError("disk full")

        with pytest.raises(RuntimeError):
            write_atomically(tmp_path / "file", fail, replace=True)
        with pytest.raises(RuntimeError):
            write_atomically(tmp_path / "file", b"x", replace=False, check=fail)
        assert list(tmp_path.iterdir()) == []

    def test_first_wins_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        assert write_atomically(tmp_path / "file", b"one", replace=False)
        assert not write_atomically(tmp_path / "file", b"two", replace=False)
        assert (tmp_path / "file").read_bytes() == b"one"
        assert not leftovers(tmp_path)

    def test_a_link_that_was_made_before_its_answer_was_lost_is_ours(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        assert write_atomically(path, b"one", replace=False, check=lambda temporary: os.link(temporary, path))
        assert path.read_bytes() == b"one"
        # Another file with two links, and ours with two links but at another place, are not.
        os.link(path, tmp_path / "second")
        assert not write_atomically(
            path, b"two", replace=False, check=lambda temporary: os.link(temporary, tmp_path / "elsewhere")
        )
        assert path.read_bytes() == b"one"
        assert not leftovers(tmp_path)

    def test_other_errors_of_link_are_raised(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "link", full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(tmp_path / "file", b"one", replace=False)
        assert list(tmp_path.iterdir()) == []


class TestReadPatiently:
    """A link to itself stands for a file that cannot be read for a while: opening it is an error of the system."""

    def test_an_error_that_passes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.symlink_to(path)
        (tmp_path / "new").write_bytes(b"content")
        mend = threading.Timer(0.3, lambda: (tmp_path / "new").replace(path))
        mend.start()
        assert read_patiently(path.read_bytes) == b"content"
        mend.join()

    def test_an_error_that_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.symlink_to(path)
        start = time.monotonic()
        with pytest.raises(OSError, match="symbolic links"):
            read_patiently(path.read_bytes)
        assert 1 < time.monotonic() - start < 10

    def test_an_absent_file_is_so_at_once(self, tmp_path: Path) -> None:
        start = time.monotonic()
        for _ in range(100):
            with pytest.raises(FileNotFoundError):
                read_patiently((tmp_path / "file").read_bytes)
        assert time.monotonic() - start < 1
