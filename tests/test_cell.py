"""Identity of cells: what it is made of, and that it never changes by accident."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest

from pipeline.cell import Cell, Evaluation, canonical_json, format_bytes

FULL = Cell(
    task="gsm8k",
    task_version=3,
    model="smollm2-135m@random-6",
    model_identity="5f" * 32,
    family="subset",
    family_version=2,
    parameters={"lr": 1e-4, "epochs": 3, "examples": None, "order": "löss", "shuffle": True},
    budget_bytes=16384,
    seed=7,
    evaluation=Evaluation(validation_items=256, test_items=100, time_limit_seconds=60),
    reference_machine="2026.11",
)
"""Every field differs from its default."""


def test_cell_id_is_frozen() -> None:
    # Another value here orphans every shard that exists: raise `CELL_FORMAT` and say so in the change notes.
    assert FULL.cell_id == "6dbc939f2212268b598f6490ed92f51c58d4c6c4780fb81061de0e85f47e279a"


def test_canonical_form_is_frozen() -> None:
    assert canonical_json({"format": 1, **FULL.to_json()}) == (
        '{"budget_bytes":16384,"evaluation":{"test_items":100,"time_limit_seconds":60,"validation_items":256},'
        '"family":"subset","family_version":2,"format":1,"model":"smollm2-135m@random-6",'
        f'"model_identity":"{"5f" * 32}",'
        '"parameters":{"epochs":3,"examples":null,"lr":0.0001,"order":"l\\u00f6ss","shuffle":true},'
        '"reference_machine":"2026.11","seed":7,"task":"gsm8k","task_version":3}'
    )


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    forward = {"a": 1, "b": {"c": 2, "d": [1.0, None]}}
    backward = {"b": {"d": [1.0, None], "c": 2}, "a": 1}
    assert canonical_json(forward) == canonical_json(backward) == '{"a":1,"b":{"c":2,"d":[1.0,null]}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_canonical_json_refuses_what_has_no_one_text(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical_json({"value": value})


def test_order_of_parameters_does_not_count() -> None:
    turned = replace(FULL, parameters=dict(reversed(FULL.parameters.items())))
    assert turned == FULL
    assert turned.cell_id == FULL.cell_id


def test_the_label_of_the_model_is_outside_of_the_identity_and_every_other_field_inside() -> None:
    changes: dict[str, Any] = {
        "task": "chain-sum",
        "task_version": 4,
        "model_identity": "6f" * 32,
        "family": "lora",
        "family_version": 3,
        "parameters": {**FULL.parameters, "epochs": 4},
        "budget_bytes": None,
        "seed": None,
        "evaluation": replace(FULL.evaluation, time_limit_seconds=61),
        "reference_machine": "2026.12",
    }
    assert replace(FULL, model="another name").cell_id == FULL.cell_id
    assert changes.keys() | {"model"} == {field.name for field in fields(Cell)}
    ids = {replace(FULL, **{name: value}).cell_id for name, value in changes.items()}
    assert len(ids | {FULL.cell_id}) == len(changes) + 1


def test_no_identity_while_the_model_is_not_staged() -> None:
    unresolved = replace(FULL, model_identity=None)
    assert unresolved.cell_id is None
    assert unresolved.with_identity("5f" * 32).cell_id == FULL.cell_id


def test_json_row_pickle_and_copy_give_the_same_cell() -> None:
    row = {
        **{field.name: getattr(FULL, field.name) for field in fields(Cell)},
        **{field.name: getattr(FULL.evaluation, field.name) for field in fields(Evaluation)},
        "parameters": canonical_json(dict(FULL.parameters)),
    }
    for other in (
        Cell.from_json(FULL.to_json()),
        Cell.from_row(row),
        pickle.loads(pickle.dumps(FULL)),
        copy.deepcopy(FULL),
    ):
        assert other == FULL
        assert other.cell_id == FULL.cell_id


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FULL.parameters["lr"] = 1.0  # type: ignore[index]


def test_label_names_what_is_set() -> None:
    assert FULL.label == (
        "gsm8k / smollm2-135m@random-6 / subset (budget=16 KiB, seed=7, epochs=3, lr=0.0001, order=löss, shuffle=True)"
    )


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**20, "1 MiB"), (5 * 2**40, "5120 GiB")]
)
def test_format_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text
