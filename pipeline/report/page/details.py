"""What the page shows of single programs on demand: decoder, first outputs, provenance, how to run it."""

from __future__ import annotations

import ast
import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import catalog, hub
from pipeline.cell import Evaluation
from pipeline.errors import UserError
from pipeline.evaluate import items_of
from pipeline.program_file import unpack
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.report.page.content import Content
from pipeline.rows import POINT_KEY, row_of_point
from pipeline.store import Study

OTHERS = 2_000
"""Programs with details besides the members of frontiers."""

MOST_BYTES = 9_000_000
"""Deflated size at which no more details are added, so that the page stays below 30 MB whatever the programs hold."""

OUTPUTS = 5
_CHARACTERS = 700
_SOURCE_CHARACTERS = 20_000
_PROVENANCE = (
    "machine_class",
    "device_count",
    "isolation",
    "host",
    "slurm_job_id",
    "git_commit",
    "git_dirty_sha256",
    "lock_sha256",
    "hub_commits",
    "package_versions",
    "reference_machine",
    "model_identity",
    "attempt",
    "restarts",
    "started_utc",
    "finished_utc",
)
_COST = ("encode_seconds", "execute_seconds", "flops", "peak_memory_bytes")
_LENGTH = ("nll_bits", "coded_bits")


@dataclass
class _Lines:
    """Lines of JSON, deflated as they come. A line that many details share stands once."""

    number: int = 0
    size: int = 0
    shared: dict[str, int] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    _deflate: Any = field(default_factory=lambda: zlib.compressobj(9))

    def add(self, content: Any) -> int:
        line = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str).encode() + b"\n"
        part = self._deflate.compress(line) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._parts.append(part)
        self.size += len(part)
        self.number += 1
        return self.number - 1

    def add_once(self, content: Any) -> int:
        key = json.dumps(content, ensure_ascii=False, sort_keys=True)
        if key not in self.shared:
            self.shared[key] = self.add(content)
        return self.shared[key]

    def finish(self) -> str:
        return base64.b64encode(b"".join([*self._parts, self._deflate.flush()])).decode()


def details_of(content: Content, studies: Mapping[str, Study]) -> tuple[NDArray[np.int32], str]:
    """Details of the members of all frontiers and of some other programs.

    Args:
        content: what the page shows at once.
        studies: name of a study on the page -> the study. What a point was made from may lie in another one of them,
            whose tables were reduced together with those of its own.

    Returns:
        For each point the number of the line with its details, -1 without any; and the lines, as the page holds them.
        A line refers to others by their numbers: `source` to its decoder, `items` to what its outputs answer.
    """
    lines = _Lines()
    places = np.full(content.points.num_rows, -1, dtype=np.int32)
    readers = {name: _Reader(study, lines) for name, study in studies.items()}
    wanted = _wanted(content)
    points = content.points.select(["study", *POINT_KEY]).take(pa.array(wanted, pa.int64())).to_pylist()
    for place, point in zip(wanted, points, strict=True):
        if lines.size > MOST_BYTES:
            break
        own = readers[point["study"]]
        read = (reader.read(point) for reader in (own, *(it for it in readers.values() if it is not own)))
        found = next((found for found in read if found is not None), None)
        if found is not None:
            places[place] = lines.add(found)
    return places, lines.finish()


def _wanted(content: Content) -> list[int]:
    """Points with details, the most telling ones first: members over all programs, other members, others evenly."""
    scopes = content.curves["scope"].to_numpy()[content.members["curve"].to_numpy()]
    members = content.members["point"].to_numpy()
    first = dict.fromkeys([*members[scopes == ALL_SCOPE].tolist(), *members[scopes != ALL_SCOPE].tolist()])
    others = [place for place in range(content.points.num_rows) if place not in first]
    step = max(1, -(-len(others) // OTHERS))
    return [*first, *others[::step]]


@dataclass
class _Reader:
    """Reads details of the programs of one study."""

    study: Study
    lines: _Lines
    _items: dict[Any, int | None] = field(default_factory=dict)

    def read(self, point: Mapping[str, Any]) -> dict[str, Any] | None:
        """Details of a point, None where its row is not in the folder, as of a study that was reduced elsewhere."""
        row = row_of_point(self.study, point)
        if row is None:
            return None
        payload = row["payload_text"]
        return {
            "cell_id": row["cell_id"],
            "program_sha256": row["program_sha256"],
            "budget_bytes": row["budget_bytes"],
            "length": {name: row[name] for name in _LENGTH},
            "cost": {name: row[name] for name in _COST},
            "provenance": {name: row[name] for name in _PROVENANCE if row[name] is not None},
            "other_metrics": {
                split: {it["metric"]: it["performance"] for it in (row[split] or {}).get("other_metrics") or ()}
                for split in ("validation", "test")
            },
            "payload_text": payload and payload[:_CHARACTERS],
            "source": self._source(row["program_sha256"]),
            "items": self._items_of(row),
            "outputs": [text[:_CHARACTERS] for text in ((row["test"] or {}).get("predictions") or ())[:OUTPUTS]],
            "scores": ((row["test"] or {}).get("item_scores") or [])[:OUTPUTS],
        }

    def _source(self, sha256: str | None) -> int | None:
        """Line with the decoder, spelled over several lines for people; None where the file is not here."""
        if sha256 is None:
            return None
        try:
            minified, _ = unpack(self.study.program_path(sha256).read_bytes())
            return self.lines.add_once({"source": ast.unparse(ast.parse(minified))[:_SOURCE_CHARACTERS]})
        except (OSError, ValueError, SyntaxError):
            return None

    def _items_of(self, row: Mapping[str, Any]) -> int | None:
        """Line with the first test items of a task, None where their data is not here or of another version."""
        key = row["task"], row["task_version"], row["test_items"]
        if key not in self._items:
            items = self._first_items(row)
            self._items[key] = None if items is None else self.lines.add_once({"items": items})
        return self._items[key]

    def _first_items(self, row: Mapping[str, Any]) -> Sequence[Mapping[str, str]] | None:
        # A page is made anywhere, often without a network: only data that is here is read.
        with hub.only(hub.data_commits(row["hub_commits"])):
            try:
                task = catalog.task(self._sources.get(row["task"], row["task"]))
                if task.version != row["task_version"]:
                    return None
                evaluation = Evaluation(validation_items=0, test_items=row["test_items"])
                examples = items_of(task, evaluation)["test"][:OUTPUTS]
            except (UserError, ImportError, OSError):
                return None
        return [
            {"input": _fields(example.input)[:_CHARACTERS], "target": example.target[:_CHARACTERS]}
            for example in examples
        ]

    @cached_property
    def _sources(self) -> dict[str, str]:
        plan = self.study.read_plan()
        if plan is None:
            return {}
        return dict(zip(plan["task"].to_pylist(), plan["task_source"].to_pylist(), strict=True))


def _fields(fields: Mapping[str, str]) -> str:
    """The input fields of an item as text; a single one without its name."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    return "\n".join(f"{name}: {value}" for name, value in fields.items())
