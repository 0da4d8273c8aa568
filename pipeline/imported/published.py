"""The published results of arXiv 2602.15829: JSON lines as values, checked line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.files import can_be_written

LARGEST = 10**18
"""Of a whole number: shards have 64 bits for it."""

_COLUMNS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("experiment_name", "dataset_name", "model_name"), ("text", lambda value: _is_text(value))),
    "performance": ("a number from 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100),
    "bits": ("a whole number from 0 to 10^18", lambda value: _is_whole(value) and 0 <= value <= LARGEST),
    "seed": ("a whole number up to 10^18", lambda value: _is_whole(value) and abs(value) <= LARGEST),
    "strategy_hparams": ("an object", lambda value: isinstance(value, dict)),
}
"""Column -> what its value must be, in words and as a check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """One line of the file.

    Attributes:
        line: its number, from 1.
        experiment: `experiment_name`: the published name of the family.
        dataset: `dataset_name`: name of the train data; may hold a path.
        model: `model_name`: alias of the base model.
        performance: test score, as published.
        bits: published length, without the script.
        seed: seed of the run.
        hyperparameters: `strategy_hparams`.
    """

    line: int
    experiment: str
    dataset: str
    model: str
    performance: float
    bits: int
    seed: int
    hyperparameters: Mapping[str, Any]


def published_rows(text: str, name: str) -> Iterator[PublishedRow]:
    """Rows of the file, in its order; empty lines are skipped.

    Args:
        text: content of the file.
        name: its path, for messages.

    Raises:
        UserError: a line is no JSON object with the columns of a result.
    """
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield _row(line, content, f"{name}, line {line}")


def _row(line: int, content: str, place: str) -> PublishedRow:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: this is no JSON ({error}); give the published JSON lines, one object a line"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{place}: a JSON object is wanted on each line; {type(values).__name__} given")
    for column, (wanted, is_right) in _COLUMNS.items():
        if column not in values:
            raise UserError(f"{place}: the column {column!r} is missing; a result has {', '.join(_COLUMNS)}")
        if not is_right(values[column]):
            raise UserError(f"{place}: {column!r} must be {wanted}; {values[column]!r} given")
    return PublishedRow(
        line=line,
        experiment=values["experiment_name"],
        dataset=values["dataset_name"],
        model=values["model_name"],
        performance=float(values["performance"]),
        bits=values["bits"],
        seed=values["seed"],
        hyperparameters=values["strategy_hparams"],
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and can_be_written(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)
