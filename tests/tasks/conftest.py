"""What the tests of all tasks share."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.hub
import pipeline.metrics
from pipeline.protocols import SPLITS, Example, Split, Task
from pipeline.tasks.splits import normalised


@pytest.fixture
def digest() -> Callable[[Sequence[Example]], str]:
    """First 16 hexadecimal digits of the SHA-256 of items in their order: a change of the data does not go unseen."""

    def digest_of(items: Sequence[Example]) -> str:
        content = json.dumps([[dict(item.input), item.target] for item in items], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    return digest_of


@dataclass(frozen=True)
class LocalHub:
    """A folder of copies of data repositories; everything is written where the hub would have it."""

    folder: Path

    def path(self, name: str) -> Path:
        """A file to be, as `ORG/NAME/...`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def parquet(self, name: str, rows: Sequence[Mapping[str, Any]], row_group_size: int | None = None) -> Path:
        path = self.path(name)
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=row_group_size)
        return path

    def json_lines(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = self.path(name)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = self.path(name)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """An empty local copy of the hub, which this process reads."""
    folder = tmp_path / "local-hub"
    folder.mkdir()
    monkeypatch.setenv(pipeline.hub.LOCAL_VARIABLE, str(folder))
    return LocalHub(folder)


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's own settings; no test leaves pins behind."""
    monkeypatch.delenv(pipeline.hub.LOCAL_VARIABLE, raising=False)
    yield
    pipeline.hub.pin({}, may_download=True)


@pytest.fixture
def check_task() -> Callable[[Task, Mapping[Split, int]], None]:
    """What must hold for every task: sizes, disjoint inputs, clean train items, and a score for every target."""

    def check(task: Task, sizes: Mapping[Split, int]) -> None:
        assert {name: len(task.split(name)) for name in SPLITS} == sizes
        inputs = {name: {normalised(" ".join(item.input.values())) for item in task.split(name)} for name in SPLITS}
        assert not inputs["train"] & inputs["validation"]
        assert not inputs["train"] & inputs["test"]
        assert not inputs["validation"] & inputs["test"]
        for item in task.split("train"):
            for text in (*item.input.values(), item.target):
                assert task.stop not in text
                assert text == text.strip()
        for name in SPLITS:
            item = task.split(name)[0]
            assert task.copy_field in item.input
            assert task.template.format(**item.input)[0] != "{"
            right, wrong = task.score(item.target, item), task.score("nothing at all", item)
            assert set(right) == set(wrong) == set(task.metrics)
            for metric in task.metrics:
                measure = pipeline.metrics.METRICS[metric]
                best, worst = (float(measure.per_item([found[metric]])[0]) for found in (right, wrong))
                assert measure.higher_is_better and best == pytest.approx(100) and worst < 50

    return check
