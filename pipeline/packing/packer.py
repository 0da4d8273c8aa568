"""From a readable decoder, constants and a payload to one program file."""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import zlib
from collections.abc import Mapping

from pipeline.packing.calls import COMPREHENSIONS
from pipeline.packing.link import Constant, link, placeholders
from pipeline.packing.spelling import respell
from pipeline.program_file import container_bytes, program_file
from pipeline.protocols import Program


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
    deflated = _squeeze(respell(minify(link(decoder, {**constants, **size}, parts))))
    content = program_file(payload, deflated)
    return Program(
        content=content,
        decoder_bytes=len(deflated),
        payload_bytes=len(payload),
        container_bytes=container_bytes(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


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
def _squeeze(source: str) -> bytes:
    """Raw deflate stream of a source."""
    import deflate
    import zopfli.zlib

    raw = source.encode()
    streams = [deflate.deflate_compress(raw, level) for level in range(1, 13)]
    deflated: bytes = min([zopfli.zlib.compress(raw, numiterations=50)[2:-4], *streams], key=len)
    assert zlib.decompress(deflated, -15) == raw
    return deflated
