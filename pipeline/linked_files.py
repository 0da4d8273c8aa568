"""Files that a data repository of the hub does not hold itself: its loading script reads them from an address."""

from __future__ import annotations

import gzip
import os
import shutil
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import UserError

TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkedFile:
    """A file at an address of its own.

    An address has no commits, so that the digest of the items in the lock is what holds the content fast.

    Attributes:
        name: where it is kept below the folder of the commit.
        address: where it is read, as the loading script of the repository names it.
        num_lines: how many lines of a gzipped file are read, the rest is never asked for; None for the whole file.
    """

    name: str
    address: str
    num_lines: int | None = None

    def fetch(self, folder: Path) -> None:
        """Reads the file, or its first lines, into a folder: all of it, or nothing.

        Raises:
            UserError: the address does not answer, or what it gives cannot be read.
        """
        from http.client import HTTPException
        from urllib.request import urlopen

        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with urlopen(self.address, timeout=TIMEOUT_SECONDS) as answer, part.open("wb") as out:
                if self.num_lines is None:
                    shutil.copyfileobj(answer, out)
                    # Python tells of a connection that broke only where all is read at once.
                    if left := getattr(answer, "length", None):
                        raise EOFError(f"the connection ended {left:,} bytes too early")
                else:
                    _copy_lines(answer, out, self.num_lines)
            os.replace(part, path)
        except (OSError, EOFError, HTTPException, zlib.error) as error:
            raise UserError(
                f"{path.name} cannot be fetched from {self.address} ({type(error).__name__}: {error}); check the "
                "network, or put a copy into the folder that TCX_DATA names"
            ) from error
        finally:
            part.unlink(missing_ok=True)


def _copy_lines(source: IO[bytes], out: IO[bytes], num_lines: int) -> None:
    """The first lines of a gzipped stream, gzipped again without a time, so that equal lines make an equal file."""
    with (
        gzip.open(source) as lines,
        gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as kept,
    ):
        for _, line in zip(range(num_lines), lines, strict=False):
            kept.write(line)
