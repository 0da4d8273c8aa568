"""Files that hold either nothing, an older content or all of a new one, also after a crash and on a shared disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from pipeline.errors import UserError

T = TypeVar("T")

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of every file that is still being written. Readers skip such files; old ones are safe to delete."""
READ_THREADS = 8
"""Small files on a network file system are bound by latency, so this is not the number of cores."""

_LINKS_MISSING = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_READ_PAUSES_SECONDS = (0.1, 0.3, 1.0)
_LASTING = {None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}
"""Errors that another try does not mend; Arrow reports damaged content as an OSError without a number."""


def write_atomically(
    path: Path,
    content: bytes | Callable[[BinaryIO], object],
    *,
    replace: bool,
    check: Callable[[Path], None] | None = None,
) -> bool:
    """Write a file so that its place holds either nothing, an older file or all of the new one, also after a crash.

    The content goes to a temporary name in the same folder, is flushed to disk, checked, and only then moved to its
    place. Without `replace` that is `os.link`, which fails if a file is there: the first writer wins. Where the file
    system has no hard links the folder is locked (`flock`), looked at, and the file renamed; if hosts do not share
    locks there, the later of two writers that finish within microseconds may win, but the file is still a whole one.

    Args:
        path: the place; its folder is made.
        content: bytes, or a function that writes to the binary file that it is given.
        replace: whether a file that is there is replaced.
        check: called with the temporary file before it is moved; raises to refuse it.

    Returns:
        False when `replace` is false and a file was there first.
    """
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    try:
        # Not `tempfile`: its files are private to the user, and results are read by the group.
        with temporary.open("xb") as handle:
            if isinstance(content, bytes):
                handle.write(content)
            else:
                content(handle)
            handle.flush()
            os.fsync(handle.fileno())
        if check is not None:
            check(temporary)
        if replace:
            temporary.replace(path)
        elif not move_if_absent(temporary, path):
            return False
        sync_folder(path.parent)
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def move_if_absent(source: Path, path: Path) -> bool:
    """Give a file its place unless one is there; its old name may stay.

    Args:
        source: a file whose name nobody else uses, in the same folder.
        path: the place.

    Returns:
        False when a file was there first.
    """
    try:
        os.link(source, path)
        return True
    except FileExistsError:
        # Over NFS the link is made again when the first answer was lost, and then meets itself. Nobody else links
        # this file, so one that is both is ours.
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(source.lstat(), path.lstat())
        return False
    except OSError as error:
        if error.errno not in _LINKS_MISSING:
            raise
    with locked(path.parent):
        if path.exists():
            return False
        source.replace(path)
        return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Where the file system has no locks nothing is held: files are still whole ones."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_patiently(read: Callable[[], T]) -> T:
    """What a reader of a file gives that other hosts write; tried a few times where the file system fails.

    Over NFS a file that was replaced or moved on another host gives ESTALE, and a server that is busy EIO. Both pass.
    A file that is absent is so at once.

    Raises:
        OSError: of the last try.
    """
    for pause in _READ_PAUSES_SECONDS:
        try:
            return read()
        except OSError as error:
            if error.errno in _LASTING:
                raise
        time.sleep(pause)
    return read()


def can_be_written(text: str) -> bool:
    """Whether a file can hold a text: JSON knows halves of characters (lone surrogates), and UTF-8 does not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def placed(folder: Path, path: str) -> Path:
    """The path of what a user named: relative to a folder, from the root, or behind `~`.

    Raises:
        UserError: `~` is followed by the name of no user.
    """
    try:
        return folder / Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path!r} starts with the home folder of a user that this machine does not know") from error


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, in no fixed order; nothing where there is no folder."""

    def scan() -> list[os.DirEntry[str]]:
        with os.scandir(folder) as found:
            return list(found)

    try:
        return read_patiently(scan)
    except FileNotFoundError:
        return []


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each of them on disk before it is used."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk: which files are there, and which no longer."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder and need not
            raise
    finally:
        os.close(handle)
