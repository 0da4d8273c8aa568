"""Tables as a browser reads them fast: typed arrays one after the other, texts once each, all of it deflated.

Layout before deflation: length of the header (4 bytes, little endian), header (JSON, with blanks up to a multiple of 8
bytes), arrays, each with zeros up to a multiple of 8 bytes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Array = NDArray[Any]

ABSENT = -1
"""Code of a text, or value of a whole number, that is null. Other numbers are null as NaN."""

_LEVEL = 6
_ALIGNMENT = 8
_INT32_MAX = 2**31 - 1
_KINDS = {"int8": "i8", "int16": "i16", "int32": "i32", "float32": "f32", "float64": "f64", "uint8": "u8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column.

    Attributes:
        values: one entry a row.
        texts: what the entries number, None for a column of numbers.
    """

    values: Array
    texts: tuple[str, ...] | None = None


Columns = Mapping[str, Column]


def texts(column: pa.ChunkedArray) -> Column:
    """A column of texts, each text once; texts are numbered in their order."""
    encoded = pc.dictionary_encode(pc.cast(column, pa.string())).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # without rows there is no chunk to combine
        encoded = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    found = encoded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=lambda place: found[place])
    rank = np.empty(len(found) + 1, dtype=np.int32)
    rank[order] = np.arange(len(found))
    rank[-1] = ABSENT
    codes = pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False).astype(np.int64)
    return Column(values=_smallest(rank[codes]), texts=tuple(found[place] for place in order))


def whole_numbers(column: pa.ChunkedArray) -> Column:
    """A column of numbers that are not negative: whole ones of 32 bits where they fit, null as `ABSENT`."""
    largest = pc.max(column).as_py() or 0
    if largest > _INT32_MAX:
        return numbers(column, "float64")
    return Column(values=pc.fill_null(column, ABSENT).to_numpy().astype(np.int32))


def numbers(column: pa.ChunkedArray, precision: str = "float32") -> Column:
    """A column of numbers, null as NaN."""
    values = pc.fill_null(pc.cast(column, pa.float64()), float("nan")).to_numpy()
    return Column(values=values.astype(precision))


def codes(values: Array) -> Column:
    """Whole numbers in the fewest bytes that hold them."""
    return Column(values=_smallest(values))


def packed(header: Mapping[str, Any], tables: Mapping[str, Columns]) -> str:
    """Header and tables as base64 of the deflated layout that this module describes.

    Args:
        header: anything that JSON can say; `tables` is taken.
        tables: name of a table -> its columns, all of one length.
    """
    described: dict[str, Any] = {}
    arrays: list[bytes] = []
    offset = 0
    for name, columns in tables.items():
        places = {}
        for column_name, column in columns.items():
            content = np.ascontiguousarray(column.values).astype(column.values.dtype.newbyteorder("<")).tobytes()
            content += bytes(-len(content) % _ALIGNMENT)
            place = {"kind": _KINDS[column.values.dtype.name], "offset": offset}
            places[column_name] = place if column.texts is None else {**place, "texts": column.texts}
            arrays.append(content)
            offset += len(content)
        described[name] = {"rows": len(next(iter(columns.values())).values), "columns": places}
    head = json.dumps({**header, "tables": described}, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
    head += b" " * (-(len(head) + 4) % _ALIGNMENT)
    return deflated(len(head).to_bytes(4, "little") + head + b"".join(arrays))


def deflated(content: bytes) -> str:
    """Base64 of the deflated bytes."""
    return base64.b64encode(zlib.compress(content, _LEVEL)).decode()


def _smallest(values: Array) -> Array:
    top = int(values.max(initial=0))
    kind = next(kind for kind in (np.int8, np.int16, np.int32) if top <= np.iinfo(kind).max)
    return values.astype(kind)
