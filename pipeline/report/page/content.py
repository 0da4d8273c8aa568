"""What the page shows at once: programs, frontiers, models, savings, completeness. Read by columns, never by rows."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.reduce.labels import SETTING_COLUMNS, distinct_labels
from pipeline.report.axes import METRIC_LABELS
from pipeline.report.page.columns import ABSENT, Column, codes, numbers, texts, whole_numbers
from pipeline.report.page.looks import length_looks, looks_of
from pipeline.report.reduction import savings
from pipeline.report.standing import STAGE_ORDER, families_of
from pipeline.report.tables import Tables
from pipeline.report.trajectory import LENGTHS_BYTES
from pipeline.rows import POINT_KEY
from pipeline.store import Study
from pipeline.verdicts import read_verdicts

ID_CHARACTERS = 16
"""Characters of the id of a cell that the page keeps: `tcx show` finds the cell by them."""

_TEXTS = (
    "task",
    "model",
    "family",
    "view",
    "status",
    "status_reason",
    "select",
    "parameters",
    "settings",
    "isolation",
    "metric",
)
_WHOLE = ("program_length_bits", "decoder_bits", "payload_bits", "container_bits", "budget_bytes")
_SCORES = ("validation_performance", "test_performance")
_NUMBERS = (
    "test_low",
    "test_high",
    "wall_seconds",
    "cpu_seconds",
    "gpu_seconds",
    "train_tokens",
    "generated_tokens",
)
_COUNTS = ("validation_num_items", "test_num_items")
_CURVE = ("study", "task", "model", "scope", "is_imported")
_DOMINANCE = (
    "task",
    "model",
    "programs",
    "reference_programs",
    "is_imported",
    "reference_is_imported",
    "performance_from",
    "performance_to",
    "ratio",
    "ratio_low",
    "ratio_high",
    "shorter_share",
)
_KEPT_ENTRIES = 200
_MESSAGE_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the page shows at once.

    Attributes:
        points: the table `points` of all studies, one after the other, with a column `study`; only what the page needs.
        members: one row a member of a frontier: `curve`, a number, and `point`, a row of `points`.
        curves: one row a frontier, in the order of these numbers.
        header: everything that is no table.
    """

    points: pa.Table
    members: pd.DataFrame
    curves: pd.DataFrame
    header: Mapping[str, Any]

    def tables(self, detail: NDArray[np.int32]) -> dict[str, dict[str, Column]]:
        """The tables in the columns of the page.

        Args:
            detail: for each point the number of its details, -1 without any.
        """
        points = self.points
        columns = {name: texts(points[name]) for name in ("study", *_TEXTS)}
        columns["seed"] = texts(points["seed"])
        columns |= {name: whole_numbers(points[name]) for name in (*_WHOLE, *_COUNTS)}
        columns |= {name: numbers(points[name], "float64") for name in _SCORES}
        columns |= {name: numbers(points[name]) for name in _NUMBERS}
        columns["is_floor"] = codes(pc.cast(points["is_floor"], pa.int8()).to_numpy())
        columns["is_imported"] = codes(pc.cast(pc.equal(points["status"], schema.IMPORTED), pa.int8()).to_numpy())
        columns["higher_is_better"] = codes(
            pc.cast(pc.fill_null(points["higher_is_better"], True), pa.int8()).to_numpy()
        )
        columns["is_verified"] = codes(pc.fill_null(points["is_verified"], ABSENT).to_numpy())
        columns["detail"] = Column(values=detail)
        curves = pa.Table.from_pandas(self.curves, preserve_index=False)
        return {
            "points": columns,
            "identities": {"bytes": Column(values=_id_bytes(points["cell_id"]))},
            "curves": {name: texts(curves[name]) for name in ("study", "task", "model", "scope")}
            | {"is_imported": codes(self.curves["is_imported"].to_numpy().astype(np.int8))},
            "members": {name: codes(self.members[name].to_numpy()) for name in ("curve", "point")},
        }


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A study of the page.

    Attributes:
        study: the study.
        name: what the page calls it.
        new_labels: column -> label in the tables of the study -> label on the page, of those that differ.
    """

    study: Study
    name: str
    new_labels: Mapping[str, Mapping[str, str]]

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A reduced table of the study, with the labels of the page."""
        table = self.study.read_table(name, columns)
        for column, labels in self.new_labels.items():
            if column in table.column_names:
                place, values = table.column_names.index(column), table[column]
                for old, new in labels.items():
                    values = pc.if_else(pc.equal(table[column], old), new, values)
                table = table.set_column(place, column, values)
        return table


def content_of(studies: Sequence[Study]) -> Content:
    """Content of the page of these studies. What may not be compared has another label, as within a study.

    Raises:
        UserError: one of them has not been reduced.
    """
    parts = _parts(studies)
    names = [part.name for part in parts]
    points = pa.concat_tables([_points(part) for part in parts])
    frontier = pa.concat_tables([_frontier(part) for part in parts])
    members, curves = _numbered(frontier, points)
    own = points.filter(pc.not_equal(points["status"], schema.IMPORTED))
    header: dict[str, Any] = {
        "title": " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names),
        "chosen_on_test": _distinct(own.filter(pc.equal(own["select"], "test"))["study"]),
        # As a command line names them, from where the page was made.
        "folders": {part.name: part.study.argument for part in parts},
        "results": {part.name: shlex.quote(str(part.study.folder.parent)) for part in parts},
        "metrics": {name: METRIC_LABELS.get(name, name) for name in _distinct(points["metric"])},
        "standings": [
            {"model": it.model, "family": it.family, "stage": it.stage, "order": it.order, "short": it.short_name}
            for family in families_of(_distinct(points["model"])).values()
            for it in family
        ],
        "stages": list(STAGE_ORDER),
        "looks": looks_of(
            families=_distinct(points["family"]),
            views=_distinct(points["view"]),
            models=_distinct(points["model"]),
            seeds=sorted(_distinct(pc.cast(points["seed"], pa.string())), key=int),
            studies=names,
        ),
        "lengths": [
            {"bytes": size, **look} for size, look in zip(LENGTHS_BYTES, length_looks(LENGTHS_BYTES), strict=True)
        ],
        "savings": [row for part in parts for row in _savings(part)],
        "targets": [row for part in parts for row in _targets(part)],
        "dominance": [row for part in parts for row in _dominance(part)],
        "completeness": [_completeness(part.study, part.name) for part in parts],
    }
    return Content(points=points, members=members, curves=curves, header=header)


def study_names(studies: Sequence[Study]) -> list[str]:
    """A name for each study, all different: that of its folder, behind as many folders above as tell it from others."""
    folders = [study.folder.resolve() for study in studies]
    names = []
    for folder in folders:
        others = [other.parts for other in folders if other != folder]
        depth = 1
        while folder.parts[-depth:] in [other[-depth:] for other in others]:
            depth += 1
        names.append(str(Path(*folder.parts[-depth:])))
    return names


def _parts(studies: Sequence[Study]) -> list[_Part]:
    settings = [_settings(study) for study in studies]
    labels = distinct_labels({setting for of_study in settings for setting in of_study})
    columns = [SETTING_COLUMNS.index("task"), SETTING_COLUMNS.index("model")]
    parts = []
    for study, name, of_study in zip(studies, study_names(studies), settings, strict=True):
        tasks, models = (
            {
                setting[column]: labels[setting][place]
                for setting in of_study
                if setting[column] != labels[setting][place]
            }
            for place, column in enumerate(columns)
        )
        parts.append(_Part(study=study, name=name, new_labels={"task": tasks, "model": models}))
    return parts


def _settings(study: Study) -> list[tuple[Any, ...]]:
    """Settings of the rows of a study, in its own labels. Imported rows tell none: they go with the others."""
    rows = study.read_table("points", SETTING_COLUMNS).group_by(list(SETTING_COLUMNS)).aggregate([])
    return [
        tuple(row[name] for name in SETTING_COLUMNS) for row in rows.to_pylist() if row["status"] != schema.IMPORTED
    ]


def _points(part: _Part) -> pa.Table:
    wanted = [
        *POINT_KEY,
        "seed",
        "is_floor",
        "higher_is_better",
        *_TEXTS,
        *_WHOLE,
        *_COUNTS,
        *_SCORES,
        *_NUMBERS,
    ]
    points = part.table("points", wanted).select(wanted)
    return _named(points.append_column("is_verified", _is_verified(part.study, points)), part.name)


def _is_verified(study: Study, points: pa.Table) -> pa.Array:
    """Whether the program of each cell held when it was verified, null where it never was."""
    verdicts = read_verdicts(study)
    if not verdicts:
        return pa.nulls(points.num_rows, pa.int8())
    programs = zip(points["cell_id"].to_pylist(), points["program_sha256"].to_pylist(), strict=True)
    found = [verdicts.get(cell_id, {}).get(program) for cell_id, program in programs]
    return pa.array([None if problems is None else int(not problems) for problems in found], pa.int8())


def _frontier(part: _Part) -> pa.Table:
    wanted = [*_CURVE[1:], "cell_id"]
    return _named(part.table("frontier", wanted).select(wanted), part.name)


def _named(table: pa.Table, name: str) -> pa.Table:
    return table.append_column("study", pa.array([name] * table.num_rows, pa.string()))


def _numbered(frontier: pa.Table, points: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Members by the numbers of their curves and points, and the curves."""
    places = pd.MultiIndex.from_frame(points.select(["study", "cell_id"]).to_pandas())
    rows = frontier.to_pandas()
    found = places.get_indexer(pd.MultiIndex.from_frame(rows[["study", "cell_id"]]))
    groups = rows.groupby(list(_CURVE), sort=True)
    members = pd.DataFrame({"curve": groups.ngroup(), "point": found})
    # A stable sort: within a curve members stay in the order of their lengths.
    members = members[members["point"] >= 0].sort_values("curve", kind="stable", ignore_index=True)
    return members, groups.size().reset_index()[list(_CURVE)]


def _savings(part: _Part) -> list[dict[str, Any]]:
    frontier = part.table("frontier")
    frontier = frontier.filter(pc.equal(frontier["scope"], ALL_SCOPE))
    pairs = part.table("points", ["task", "model"]).group_by(["task", "model"]).aggregate([])
    tables = Tables(points=pairs.to_pylist(), frontier=frontier.to_pylist())
    return [
        {
            "study": part.name,
            "task": it.task,
            "reference": it.reference.model,
            "model": it.model.model,
            "is_imported": it.is_imported,
            "target": it.target,
            "reference_bits": 8 * it.reference_bytes,
            "model_bits": None if it.model_bytes is None else 8 * it.model_bytes,
        }
        for it in savings(tables)
    ]


def _targets(part: _Part) -> list[dict[str, Any]]:
    """The targets that the study was reduced with."""
    complexity = part.table("complexity")
    keys = ["task", "is_imported", "target_performance", "target_fraction"]
    keys += ["target_name"] if "target_name" in complexity.column_names else []
    rows = complexity.select(keys).group_by(keys).aggregate([]).to_pylist()
    rows.sort(key=lambda row: (row["task"], row["is_imported"], row["target_performance"]))
    return [{"study": part.name, **row} for row in rows]


def _dominance(part: _Part) -> list[dict[str, Any]]:
    """Ratios of the lengths of two sets of programs; none where the study was reduced before there were any."""
    if not part.study.table_path("dominance", "parquet").is_file():
        return []
    table = part.table("dominance", _DOMINANCE)
    rows = table.filter(pc.is_valid(table["ratio"])).to_pylist()
    return [{"study": part.name, **row} for row in rows]


def _completeness(study: Study, name: str) -> dict[str, Any]:
    path = study.table_path("completeness", "json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    examples: dict[str, list[dict[str, str]]] = defaultdict(list)
    for it in found.get("failed", []):
        examples[it["cause"]].append({"label": it["label"], "message": it["message"][-_MESSAGE_CHARACTERS:]})
    failures = [
        {"cause": cause, "number": number, "examples": examples[cause][:_KEPT_ENTRIES]}
        for cause, number in found.get("failed_by_cause", {}).items()
    ]
    lists = {name: found.get(name, []) for name in ("missing", "quarantined")}
    counts = {name: value for name, value in found.items() if isinstance(value, int)}
    return {"study": name, "failures": failures} | {key: value[:_KEPT_ENTRIES] for key, value in lists.items()} | counts


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return sorted(value for value in pc.unique(column).to_pylist() if value is not None)


def _id_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """The first `ID_CHARACTERS` hexadecimal digits of each id, two a byte."""
    starts = "".join(pc.utf8_slice_codeunits(column, 0, ID_CHARACTERS).to_pylist())
    return np.frombuffer(bytes.fromhex(starts), dtype=np.uint8)
