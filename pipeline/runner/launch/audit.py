"""Isolation by Python's own audit hook: the clear message, and all there is where the kernel gives nothing.

Native code passes it unseen.
"""

# A hook this often called works on plain text.

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

_NETWORK = frozenset(
    "socket." + name
    for name in ("bind", "connect", "getaddrinfo", "gethostbyaddr", "gethostbyname", "getnameinfo", "sendmsg", "sendto")
)
_PROCESSES = frozenset(("os.exec", "os.posix_spawn", "os.system", "subprocess.Popen"))
_FOLDERS = frozenset(("os.listdir", "os.scandir"))
_CHANGES = frozenset(("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"))


def refuse_network() -> None:
    """Refuse the network for the rest of this process, and nothing else."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _NETWORK:
            raise PermissionError(errno.EACCES, f"there is no network here ({event})")

    sys.addaudithook(hook)


def install(*, readable: Sequence[str], listed: Sequence[str], writable: Sequence[str], processes: bool) -> None:
    """Refuse, for the rest of this process, what the reference machine does not have.

    Args:
        readable: real paths that may be read, with all that is beneath.
        listed: real paths of folders whose names may be listed.
        writable: real paths that may be read and written, with all that is beneath.
        processes: whether other programs may be started; only the kernel can hold them.
    """
    may_write = frozenset(writable)
    may_read = may_write.union(readable)
    may_list = may_read.union(listed)
    watched = _NETWORK | _FOLDERS | _CHANGES | {"open"} | (frozenset() if processes else _PROCESSES)
    write_flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    realpath, dirname, fsdecode = os.path.realpath, os.path.dirname, os.fsdecode

    def check(path: object, allowed: frozenset[str], deed: str) -> None:
        if path is None:
            path = "."
        if not isinstance(path, str | bytes | os.PathLike):
            return
        ancestor = realpath(fsdecode(path))
        while ancestor != "/":
            if ancestor in allowed:
                return
            ancestor = dirname(ancestor)
        message = f"a program may not {deed} this, it is not part of the reference machine"
        raise PermissionError(errno.EACCES, message, fsdecode(path))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in watched:
            return
        if event == "open":
            flags = arguments[2]
            writes = isinstance(flags, int) and flags & write_flags
            check(arguments[0], may_write if writes else may_read, "write" if writes else "read")
        elif event in _FOLDERS:
            check(arguments[0], may_list, "list")
        elif event in _CHANGES:
            for path in arguments[:2]:
                if isinstance(path, str | bytes):
                    check(os.path.join(os.path.dirname(fsdecode(path)) or ".", ""), may_write, "change")
        elif event in _NETWORK:
            raise PermissionError(errno.EACCES, f"a program has no network ({event})")
        else:
            raise PermissionError(errno.EACCES, f"a program may not start other programs here ({event})")

    sys.addaudithook(hook)
