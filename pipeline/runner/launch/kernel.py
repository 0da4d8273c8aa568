"""Isolation by the Linux kernel through system calls: namespaces, Landlock, seccomp, capabilities."""

# Paths go to system calls.

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Iterable

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9

_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
_NAMESPACES = (
    _NEW_NET | _NEW_IPC | _NEW_PID,
    _NEW_USER | _NEW_NET | _NEW_IPC | _NEW_PID,
    _NEW_USER | _NEW_NET | _NEW_IPC,
)

_NETWORKS = (_NEW_NET, _NEW_USER | _NEW_NET)
_INTERNET, _STREAM = 2, 1

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

READ = _READ_FILE | _READ_DIR
LIST = _READ_DIR
READ_EXECUTE = READ | _EXECUTE
READ_WRITE_DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE
EVERYTHING = (1 << 16) - 1

_EACCES, _ENOTSUP = 13, 95
_SOCKETS_AND_KEYS = "sockets and key rings"
_ATTRIBUTES = "extended attributes"
_METADATA = "owner, mode and times of files"
_RETURNS = {_SOCKETS_AND_KEYS: _EACCES, _ATTRIBUTES: _ENOTSUP, _METADATA: 0}
"""Group of system calls that Landlock leaves open -> error that they return; 0 makes them do nothing and succeed, so
that `shutil.copy` and its like still work."""
_SYSTEM_CALLS: dict[str, tuple[int, dict[str, tuple[int, ...]]]] = {
    "x86_64": (
        0xC000003E,
        {
            _SOCKETS_AND_KEYS: (41, 248, 249, 250, 425),
            _ATTRIBUTES: (*range(188, 200), 463, 464, 465, 466),
            _METADATA: (90, 91, 92, 93, 94, 132, 235, 260, 261, 268, 280, 452),
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            _SOCKETS_AND_KEYS: (198, 217, 218, 219, 425),
            _ATTRIBUTES: (*range(5, 17), 463, 464, 465, 466),
            _METADATA: (52, 53, 54, 55, 88, 452),
        },
    ),
}
"""Machine -> number of its system call table, and calls by group: socket, add_key, request_key, keyctl,
io_uring_setup (it makes sockets past a filter); the xattr family; chmod, chown, utime and their variants."""


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends. Forked children have to ask for themselves."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def unshare_namespaces() -> None:
    """Leave the network, the IPC objects and (for children) the process ids of the machine, as far as is allowed."""
    _unshare(_NAMESPACES)


def leave_network() -> bool:
    """Leave the network of the machine and give up making sockets, for this process and its children.

    Unlike a program's process this one keeps its files and may start others. It must have one thread.

    Returns:
        Whether the kernel makes no more sockets of the internet, tried from native code.
    """
    _unshare(_NETWORKS)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filter_system_calls()
    descriptor = _LIBC.socket(_INTERNET, _STREAM, 0)
    if descriptor < 0:
        return True
    os.close(descriptor)
    return False


def _unshare(choices: Iterable[int]) -> None:
    user, group = os.getuid(), os.getgid()
    for flags in choices:
        if _LIBC.unshare(flags) != 0:
            continue
        if flags & _NEW_USER:
            maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
            for name, text in maps.items():
                # Some systems allow the namespace and not the map; only the numbers that are shown depend on it.
                with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        return


def network_namespace() -> int:
    """Number that identifies the network namespace of this process."""
    return os.stat("/proc/self/ns/net").st_ino


def restrict(rules: Iterable[tuple[str, int]]) -> bool:
    """Enter Landlock: from here on this process and its children reach only the given paths.

    Args:
        rules: path and rights beneath it; paths that do not exist are left out.

    Returns:
        Whether it is in force, tried by opening the root folder.
    """
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    version = _LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack(
        "QQQ",
        rights,
        _BIND_AND_CONNECT_TCP if version >= 4 else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _LIBC.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    for path, allowed in rules:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            allowed &= _FILE_RIGHTS
        rule = struct.pack("=Qi", allowed & rights, descriptor)
        failed = _LIBC.syscall(_ADD_RULE, ruleset, 1, rule, ctypes.c_uint32(0))
        os.close(descriptor)
        if failed:
            raise OSError(ctypes.get_errno(), f"Landlock does not take a rule for {path}")
    in_force = bool(_LIBC.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    os.close(ruleset)
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return in_force
    return False


def drop_capabilities() -> None:
    """Give up all privileges of a root user: root in a container would otherwise leave its namespaces again."""
    header = struct.pack("=Ii", 0x20080522, 0)
    _LIBC.capset(header, bytes(24))


def filter_system_calls() -> None:
    """Refuse the ways around namespaces and Landlock: unix and vsock sockets, key rings, attributes of files.

    Nothing happens on machines whose system call numbers are not listed here.
    """
    if platform.machine() not in _SYSTEM_CALLS:
        return
    table, calls = _SYSTEM_CALLS[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, return_error = 0x7FFF0000, 0x00050000
    refuse = (answer, 0, 0, return_error | _EACCES)
    lines = [(load, 0, 0, 4), (equal, 1, 0, table), refuse, (load, 0, 0, 0)]
    if platform.machine() == "x86_64":
        x32_calls = 0x40000000
        lines += [(at_least, 0, 1, x32_calls), refuse]
    for group, numbers in calls.items():
        for number in numbers:
            lines += [(equal, 0, 1, number), (answer, 0, 0, return_error | _RETURNS[group])]
    lines.append((answer, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    _LIBC.prctl(_PR_SET_SECCOMP, 2, program, 0, 0)
