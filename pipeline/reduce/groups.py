"""Rows that agree in some columns, found without making Python objects of the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.int64]

_MOST_COMBINATIONS = 2**62
_MOST_MARKS = 2**20
"""Up to so many possible values it is faster to mark those that are there than to sort."""


def grouped(rows: pa.Table, columns: Sequence[str]) -> tuple[Codes, list[tuple[Any, ...]]]:
    """Number the different values that rows have in some columns.

    Args:
        rows: any table.
        columns: names of columns; dictionary-encoded ones are fastest.

    Returns:
        The number of each row's values, shape [n_rows], and the values by their numbers. Which number a value gets
        depends on the rows.
    """
    encoded = [_encoded(rows[name]) for name in columns]
    sizes = [len(entries) for _, entries in encoded]
    # One number for all columns; where there are too many combinations for that, in two halves.
    if math.prod(sizes) > _MOST_COMBINATIONS and len(columns) > 1:
        first, last = (grouped(rows, part) for part in (columns[: len(columns) // 2], columns[len(columns) // 2 :]))
        found, codes = np.unique(first[0] * len(last[1]) + last[0], return_inverse=True)
        return codes, [first[1][code // len(last[1])] + last[1][code % len(last[1])] for code in found.tolist()]
    combined = np.zeros(rows.num_rows, np.int64)
    for (own, _), size in zip(encoded, sizes, strict=True):
        combined = combined * size + own
    found, codes = _numbered(combined, math.prod(sizes))
    places = np.unravel_index(found, sizes)
    return codes, list(
        zip(*([entries[it] for it in own] for own, (_, entries) in zip(places, encoded, strict=True)), strict=True)
    )


def _numbered(values: Codes, size: int) -> tuple[Codes, Codes]:
    """The different values, sorted, and the place of each value among them.

    Args:
        values: of 0 to `size` - 1.
        size: number of possible values.
    """
    if size > _MOST_MARKS:
        found, codes = np.unique(values, return_inverse=True)
        return found, codes
    is_there = np.zeros(size, np.bool_)
    is_there[values] = True
    places = np.cumsum(is_there) - 1
    return np.flatnonzero(is_there), places[values]


def _encoded(column: pa.ChunkedArray) -> tuple[Codes, list[Any]]:
    """The number of each entry, and the entries by their numbers; the last is null."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    entries = array.dictionary.to_pylist()
    codes: Codes = array.indices.fill_null(len(entries)).to_numpy().astype(np.int64)
    return codes, [*entries, None]
