"""The program file: a Python zip application with the payload before it.

payload, as it is | local header (41 bytes) | deflated `__main__.py` | central directory (57) | end record (22)

The container is the smallest that `python FILE` runs: 120 bytes. The decoder reads its payload as the first bytes of
its own file.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from pipeline.packing.calls import COMPREHENSIONS
from pipeline.packing.link import Constant, link, placeholders
from pipeline.packing.spelling import respell
from pipeline.protocols import Program

MEMBER = b"__main__.py"
CONTAINER_BYTES = 30 + 46 + 22 + 2 * len(MEMBER)


def pack(
    decoder: str, constants: Mapping[str, Constant], payload: bytes = b"", parts: Mapping[str, str] | None = None
) -> Program:
    """Program file of a decoder with its constants and payload. Equal arguments give equal bytes.

    Args:
        decoder: dotted name of the module with the readable decoder.
        constants: a value for each of the decoder's placeholders but `PAYLOAD_BYTES`, which is given here.
        payload: what stands before the zip archive.
        parts: function -> the decoder part it is taken from, where it is not the one that the decoder imports.
    """
    size = {"PAYLOAD_BYTES": len(payload)} if "PAYLOAD_BYTES" in placeholders(decoder) else {}
    deflated, source_bytes, checksum = _squeeze(respell(minify(link(decoder, {**constants, **size}, parts))))
    fields = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 33, checksum, len(deflated), source_bytes, len(MEMBER), 0)
    local = b"PK\3\4" + fields + MEMBER
    central = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, len(payload)) + MEMBER
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(central), len(payload) + len(local) + len(deflated), 0)
    content = payload + local + deflated + central + end
    return Program(
        content=content,
        decoder_bytes=len(deflated),
        payload_bytes=len(payload),
        container_bytes=len(content) - len(deflated) - len(payload),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def unpack(content: bytes) -> tuple[str, bytes]:
    """Decoder source (minified) and payload of a program file.

    Raises:
        ValueError: the bytes are not a program file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo(MEMBER.decode())
            return archive.read(entry).decode(), content[: entry.header_offset]
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"not a program file: {error}") from error


def minify(source: str) -> str:
    """The shortest spelling that the minifier finds for a source that nothing else imports from.

    Literals stay where they are, and modules and builtins keep their names: deflate makes a repeated one shorter than
    another name for it.
    """
    import python_minifier  # not in the base install, which plans and reduces only

    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = [alias.asname or alias.name for node in imports for alias in node.names]
    # The minifier takes what a comprehension sets by `:=` for a name of its own.
    inner = [it for node in ast.walk(tree) if isinstance(node, COMPREHENSIONS) for it in ast.walk(node)]
    is_renamed = not any(isinstance(node, ast.NamedExpr) for node in inner)
    return str(
        python_minifier.minify(
            source,
            remove_literal_statements=True,
            rename_locals=is_renamed,
            rename_globals=is_renamed,
            preserve_globals=[*modules, *dir(builtins)],
            hoist_literals=False,
        )
    )


@functools.lru_cache(maxsize=256)
def _squeeze(source: str) -> tuple[bytes, int, int]:
    """Raw deflate stream of a source, its size before, and its CRC-32."""
    import deflate
    import zopfli.zlib

    raw = source.encode()
    streams = [deflate.deflate_compress(raw, level) for level in range(1, 13)]
    deflated = min([zopfli.zlib.compress(raw, numiterations=50)[2:-4], *streams], key=len)
    assert zlib.decompress(deflated, -15) == raw
    return deflated, len(raw), zlib.crc32(raw)
