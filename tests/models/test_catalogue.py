"""The catalogue: complete, consistent, and found again by every name that a grid may use."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.models import CHECKPOINTS, Checkpoint, checkpoint_of
from pipeline.models.catalogue import STAGES
from pipeline.models.label import LOADINGS

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT.parent / "shared" / "published" / "sah-final-results.jsonl"
FAMILIES = {
    name: [c for c in CHECKPOINTS.values() if c.family == name] for name in ("smollm3", "olmo3-7b", "olmo3-32b")
}


def published_rows() -> list[dict[str, Any]]:
    if not PUBLISHED.is_file():
        pytest.skip(f"there is no {PUBLISHED}")
    return [json.loads(line) for line in PUBLISHED.read_text().splitlines()]


def test_it_has_every_model_of_the_published_rows() -> None:
    names = {row["model_name"] for row in published_rows()}
    assert len(names) == 17
    assert set(CHECKPOINTS) == names | {"smollm3-step40k", "smollm2-135m"}


def test_counts_are_those_that_the_lengths_of_full_fine_tuning_were_made_of() -> None:
    """16 bits a parameter."""
    lengths = {row["model_name"]: row["bits"] for row in published_rows() if row["experiment_name"] == "full_ft"}
    assert {CHECKPOINTS[name].family for name in lengths} == {"smollm3", "olmo3-7b"}
    assert {name: bits / 16 for name, bits in lengths.items()} == {
        name: CHECKPOINTS[name].parameters for name in lengths
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_one_training_run_in_its_order(family: str) -> None:
    entries = FAMILIES[family]
    assert [entry.order for entry in entries] == sorted({entry.order for entry in entries})
    for before, after in pairwise(entries):
        assert STAGES.index(before.stage) <= STAGES.index(after.stage)
    for entry in entries:
        assert (entry.order == 0) == (entry.stage == "random")
        assert entry.loading in (None, *LOADINGS)
        # A branch that was published, never the commit that it is at some time.
        assert entry.hub and entry.revision and not re.fullmatch("[0-9a-f]{12,}", entry.revision)


def test_branches_say_the_steps_of_the_aliases() -> None:
    thousands = {name: re.search(r"step(\d+)k$", name) for name in CHECKPOINTS}
    for name, found in thousands.items():
        revision = CHECKPOINTS[name].revision
        if found and revision:
            step = re.search(r"step-?(\d+)$", revision)
            assert step and round(int(step[1]) / 1000) == int(found[1]), (name, revision)
    assert sum(map(bool, thousands.values())) == 9


def changed(alias: str, **changes: Any) -> Checkpoint:
    return dataclasses.replace(CHECKPOINTS[alias], **changes)


@pytest.mark.parametrize(
    ("label", "found"),
    [
        *((alias, entry) for alias, entry in CHECKPOINTS.items()),
        ("smollm2-135m@random-1", changed("smollm2-135m", stage="random", order=0, random_seed=1)),
        ("smollm3@random-7", changed("smollm3", stage="random", order=0, random_seed=7)),
        ("smollm3-step0@random-7", changed("smollm3-step0", random_seed=7)),
        ("smollm3+nf4", changed("smollm3", loading="nf4")),
        ("olmo3-32b-step656k@random-2", changed("olmo3-32b-step656k", stage="random", order=0, random_seed=2)),
        ("HuggingFaceTB/SmolLM3-3B", CHECKPOINTS["smollm3"]),
        ("HuggingFaceTB/SmolLM3-3B@main", CHECKPOINTS["smollm3"]),
        ("HuggingFaceTB/SmolLM3-3B-checkpoints@stage2-step-4200000", CHECKPOINTS["smollm3-stage2"]),
        ("allenai/Olmo-3-1125-32B@stage1-step656000", changed("olmo3-32b-step656k", loading=None)),
        ("allenai/Olmo-3-1125-32B@stage1-step656000+nf4", CHECKPOINTS["olmo3-32b-step656k"]),
        (
            "allenai/Olmo-3-1125-32B@random-3",
            changed("olmo3-32b-step656k", loading=None, stage="random", order=0, random_seed=3),
        ),
        ("allenai/Olmo-3-1125-32B", None),
        ("HuggingFaceTB/SmolLM3-3B-checkpoints", None),
        ("smollm3-stage1@main", None),
        ("smollm3+int8", None),
        ("smollm4", None),
        ("./smollm3", None),
    ],
)
def test_what_it_says_of_a_label(label: str, found: Checkpoint | None) -> None:
    assert checkpoint_of(label) == found


def test_the_documentation_lists_it() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")
    ]
    listed = {row[0]: row[1:] for row in rows if row[0] in CHECKPOINTS}
    assert listed == {
        entry.alias: [
            entry.hub or f"package {entry.distribution}",
            entry.revision or "",
            entry.stage + (f", seed {entry.random_seed}" if entry.random_seed is not None else ""),
            entry.loading or "",
            f"{entry.parameters:,}",
        ]
        for entry in CHECKPOINTS.values()
    }
