"""A digest of the footer of a Parquet file, inside of the file.

Pages have checksums and the footer has none: one flipped bit in it can give a column the pages of another. The digest
stands before the footer, where a Parquet file may hold anything and no reader looks.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InvalidShardError

_DIGEST_BYTES = 32
_TAIL_BYTES = 8
"""The length of the footer and the magic number."""


def seal(file: BinaryIO) -> None:
    """Put the digest into a Parquet file that has just been written.

    Args:
        file: open for writing, with a name; its position is at its end.
    """
    file.flush()
    with open(file.name, "rb") as written:
        footer = _footer(written)
    file.seek(-len(footer), os.SEEK_END)
    file.write(hashlib.sha256(footer).digest() + footer)


def check_seal(path: Path) -> None:
    """Whether the footer of a file is the one that was sealed.

    Raises:
        InvalidShardError: it is not, or was never sealed.
        FileNotFoundError: no file.
    """
    with path.open("rb") as file:
        footer = _footer(file)
        file.seek(max(0, file.tell() - len(footer) - _DIGEST_BYTES))
        if file.read(_DIGEST_BYTES) != hashlib.sha256(footer).digest():
            raise InvalidShardError("its footer is damaged")


def _footer(file: BinaryIO) -> bytes:
    """The footer of a Parquet file with what follows it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    num_bytes = int.from_bytes(file.read(4), "little") + _TAIL_BYTES
    file.seek(max(0, size - num_bytes))
    return file.read()
