"""The program file: a Python zip application with the payload before it, in the smallest container that we know of.

payload, as it is | local header (10 bytes) | central directory (46) and name (11) | deflated `__main__.py`

`python FILE` looks for the end record from the end of the file backwards, takes from it where the central directory
is, from that the name of the member and where its local header is, and from this how far behind it the member begins.
No more is read of each: the end record lies in fields of the central directory that nobody reads, the local header
reaches over them too, and the member comes last. So a container has 67 bytes; side by side the three take 120. Other
readers of zip files, `zipfile` among them, want them so. The decoder reads its payload as the first bytes of its own
file.

Python looks for the end record in the last 65,557 bytes only. Behind a longer member it stands by itself, for 22 bytes.
"""

from __future__ import annotations

import struct
import zlib

MEMBER = b"__main__.py"
LOCAL_HEADER, DIRECTORY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
READ_OF_LOCAL_HEADER, DIRECTORY_BYTES = 30, 46
BEFORE_DIRECTORY = 10
"""Bytes of the local header before the central directory: its lengths then are where the checksum is."""
END_IN_DIRECTORY = 24
"""Place of the end record in the central directory: from the size of the source on."""
CONTAINER_BYTES = BEFORE_DIRECTORY + DIRECTORY_BYTES + len(MEMBER)
"""The smallest container; see `container_bytes` for that of a file."""
END_BYTES = 22
MOST_SEARCHED_BYTES = 65_535 + END_BYTES
"""Where Python looks for an end record: it may have a comment behind it."""


def program_file(payload: bytes, deflated: bytes) -> bytes:
    """The file that holds a payload and a deflated source."""
    content = payload + _container(len(deflated), has_end_record=True) + deflated
    end = len(payload) + BEFORE_DIRECTORY + END_IN_DIRECTORY
    if content.rindex(END) == end >= len(content) - MOST_SEARCHED_BYTES:
        return content
    return payload + _container(len(deflated), has_end_record=False) + deflated + _end_record(len(deflated))


def unpack(content: bytes) -> tuple[str, bytes]:
    """Decoder source (minified) and payload of a program file.

    It is read as Python reads it, so files with a container of 120 bytes, from earlier versions, are read as well.

    Raises:
        ValueError: the bytes are not a program file.
    """
    payload_bytes, deflated = _find(content)
    try:
        return zlib.decompress(deflated, -15).decode(), content[:payload_bytes]
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"not a program file: {error}") from error


def container_bytes(content: bytes) -> int:
    """What of a program file is neither payload nor decoder, in bytes.

    Raises:
        ValueError: the bytes are not a program file.
    """
    payload_bytes, deflated = _find(content)
    return len(content) - payload_bytes - len(deflated)


def _container(deflated_bytes: int, *, has_end_record: bool) -> bytes:
    """What stands between a payload and so many bytes of a member. Fields that nobody reads are 0."""
    deflate = 8
    # Where the central directory has a checksum, the local header has the bytes from its own end to the member.
    to_member = CONTAINER_BYTES - READ_OF_LOCAL_HEADER
    # Where it has the size of the source, the end record begins. It counts one member, twice, as Python wants from 3.13
    # on; the first of these is a comment of one byte to the directory, which does no harm. Then come the bytes of the
    # directory that are before the record, and the bytes of the archive that are before the directory.
    end_record = (END, len(MEMBER), 0, 1, 1, END_IN_DIRECTORY, BEFORE_DIRECTORY)
    length_of_name = (b"", len(MEMBER), 0, 0, 0, 0, 0)
    before_it = (DIRECTORY, 0, 0, deflate, 0, 0, to_member, deflated_bytes)
    directory = struct.pack("<4sLHHHHLL4sHHHHLHL", *before_it, *(end_record if has_end_record else length_of_name), 0)
    return LOCAL_HEADER.ljust(BEFORE_DIRECTORY, b"\0") + directory + MEMBER


def _end_record(deflated_bytes: int) -> bytes:
    """An end record behind a member of so many bytes, all of which it takes for the directory."""
    directory_bytes = DIRECTORY_BYTES + len(MEMBER) + deflated_bytes
    return struct.pack("<4sHHHHLLH", END, 0, 0, 1, 1, directory_bytes, BEFORE_DIRECTORY, 0)


def _find(content: bytes) -> tuple[int, bytes]:
    """Number of bytes before the archive, and the deflated member."""
    try:
        end = content.rindex(END)
        directory_bytes, archive_bytes = struct.unpack_from("<LL", content, end + 12)
        directory = end - directory_bytes
        (deflated_bytes,) = struct.unpack_from("<L", content, directory + 20)
        (offset,) = struct.unpack_from("<L", content, directory + 42)
        local = directory - archive_bytes + offset
        if not 0 <= local <= directory:
            raise ValueError(f"its local header would be at byte {local} and its directory at byte {directory}")
        start = local + READ_OF_LOCAL_HEADER + sum(struct.unpack_from("<HH", content, local + 26))
    except (ValueError, struct.error) as error:
        raise ValueError(f"not a program file: {error}") from error
    return local, content[start : start + deflated_bytes]
