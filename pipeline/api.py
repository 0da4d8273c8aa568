"""A reduced study in a notebook or a script: tables as pandas or Arrow, items of programs, plots on matplotlib axes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError, unknown_name
from pipeline.rows import POINT_KEY, row_of_point
from pipeline.status import unique_id
from pipeline.store import Study, open_study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from pipeline.reduce.reduction import Select
    from pipeline.reduce.targets import Targets
    from pipeline.report.tables import Tables

StudyName = str | PathLike[str]
"""Name of a study in the results folder, or path of its folder."""

Labels = str | Sequence[str]
"""One label or several."""

_FIGURE_INCHES = (6.3, 3.5)
_ITEM_SPLITS = ("validation", "test")


def read_study(study: StudyName, *, results: StudyName | None = None) -> ReducedStudy:
    """A study that `tcx run` or `tcx reduce` has reduced. Reads its tables; computes and writes nothing.

    Args:
        study: its name, or the path of its folder.
        results: folder of the studies; else `TCX_RESULTS`, else `./results`.

    Raises:
        UserError: there is no such study, or it has not been reduced.
    """
    found = open_study(Path(study), _text(results))
    return ReducedStudy(found, [found])


def reduce_studies(
    *studies: StudyName,
    targets: Targets | None = None,
    dominance: Sequence[str] = (),
    select: Select = "validation",
    out: StudyName | None = None,
    results: StudyName | None = None,
) -> ReducedStudy:
    """Merge the shards of one or many studies and write their tables, as `tcx reduce` does, but draw no figures.

    Args:
        studies: names or paths of folders: parts of one study, as from several clusters, or studies to be compared.
        targets: where task complexity is reported: numbers (`20`), parts of the way from the floor to the best score
            (`"75%"`), what a base model reaches (`"MODEL"`, `"MODEL/FAMILY"`). None for the usual parts.
        dominance: sets of program families that are compared, besides the views, such as `"gains,scales/lora,subset"`.
        select: split that frontiers are chosen on; `"test"` only to reproduce papers.
        out: folder that gets the tables; None for the first study.
        results: folder of the studies; else `TCX_RESULTS`, else `./results`.

    Raises:
        UserError: no studies, one that is not there, a target that is none, or a pair of sets that is none.
    """
    from pipeline.reduce import reduce_studies as reduce_folders
    from pipeline.reduce.dominance import parse_pair

    found = [open_study(Path(study), _text(results)) for study in studies]
    folders = [study.folder for study in found]
    reduction = reduce_folders(
        folders,
        targets=targets,
        dominance=[parse_pair(pair) for pair in dominance],
        select=select,
        out=None if out is None else Path(out),
    )
    return ReducedStudy(reduction.study, found)


class ReducedStudy:
    """The reduced tables of a study, as they stood when they were first read.

    Every method that gives a table gives a new one: change it as you like. Integers and booleans that may be missing
    are pandas' `Int64` and `boolean`.

    Attributes:
        name: of the study.
        folder: of the study, which holds the tables in `curves`.
    """

    def __init__(self, study: Study, sources: Sequence[Study]) -> None:
        if not study.table_path("points", "parquet").is_file():
            raise UserError(
                f"study {study.name} has not been reduced: {study.folder} has no tables; "
                f"run `tcx reduce {study.argument}`, or call reduce_studies({str(study.folder)!r})"
            )
        self.name = study.name
        self.folder = study.folder
        self._study = study
        self._sources = tuple(sources)
        self._arrow: dict[str, pa.Table] = {}
        self._values: dict[str, list[str]] = {}

    def __repr__(self) -> str:
        return (
            f"<study {self.name}: {self._num_points:,} cells, {len(self.tasks)} tasks, {len(self.models)} base models; "
            f"tables {', '.join(self.tables)}>"
        )

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return sorted(path.stem for path in self._study.curves.glob("*.parquet"))

    @property
    def tasks(self) -> list[str]:
        """Labels of the tasks."""
        return self._labels("task")

    @property
    def models(self) -> list[str]:
        """Labels of the base models: model families by name, each in the order of training."""
        from pipeline.report.standing import families_of

        families = families_of(self._labels("model"))
        return [standing.model for family in families.values() for standing in family]

    @property
    def scopes(self) -> list[str]:
        """Scopes of frontiers: `all`, `family:NAME`, `view:NAME`, `seed:N`."""
        from pipeline.reduce.curves import ALL_SCOPE

        # Of a scope without a program there are complexities, and no frontier.
        parts = (pc.unique(self.arrow(name)["scope"]).to_pylist() for name in ("frontier", "complexity"))
        return sorted({ALL_SCOPE}.union(*parts))

    @property
    def completeness(self) -> dict[str, Any]:
        """What became of the plan: cells that are done, failed, missing, bad files, duplicates."""
        return cast(dict[str, Any], json.loads(self._study.table_path("completeness", "json").read_text()))

    def arrow(self, name: str) -> pa.Table:
        """A whole table as Arrow has it, which Polars and DuckDB read without a copy.

        Raises:
            UserError: no table of that name.
        """
        if name not in self._arrow:
            if name not in self.tables:
                raise UserError(unknown_name("table", name, self.tables))
            self._arrow[name] = self._study.read_table(name)
        return self._arrow[name]

    def table(
        self, name: str, task: Labels | None = None, model: Labels | None = None, scope: Labels | None = None
    ) -> DataFrame:
        """A table, or its rows of some tasks, base models and scopes.

        Args:
            name: one of `tables`.
            task: labels to keep, None for all.
            model: labels to keep, None for all.
            scope: scopes to keep, None for all.

        Raises:
            UserError: an unknown table or label.
        """
        return _frame(self._chosen(self.arrow(name), task=task, model=model, scope=scope))

    def points(self, task: Labels | None = None, model: Labels | None = None) -> DataFrame:
        """One row a cell: what it is, the parts of its length, scores with intervals, cost, provenance."""
        return self.table("points", task, model)

    def frontier(
        self, task: Labels | None = None, model: Labels | None = None, scope: Labels | None = "all"
    ) -> DataFrame:
        """Complexity curves: one row a member of a frontier, shortest first."""
        return self.table("frontier", task, model, scope)

    def complexity(
        self,
        task: Labels | None = None,
        model: Labels | None = None,
        scope: Labels | None = "all",
        *,
        targets: Targets | None = None,
    ) -> DataFrame:
        """Task complexity: the length of the shortest program that reaches a target, with its interval.

        Args:
            task: labels to keep, None for all.
            model: labels to keep, None for all.
            scope: scopes to keep, None for all.
            targets: as `reduce_studies` takes them, computed from the table `points`; None for those of the table.

        Raises:
            UserError: an unknown label, or a target that is none.
        """
        if targets is None:
            return self.table("complexity", task, model, scope)
        from pipeline.reduce.complexity_at import complexity_at

        table = complexity_at(self._points_path, targets)
        return _frame(self._chosen(table, task=task, model=model, scope=scope))

    def items(self, cell: str) -> DataFrame:
        """Score and prediction of one program on each item: columns `split`, `item`, `score`, `prediction`.

        Items are numbered from 0 in the order of the split: programs of one task have the same items, so that two of
        them may be compared item by item.

        Args:
            cell: start of the id of a cell.

        Raises:
            UserError: no cell or several have such an id, it has no items, or its shard is not in the folders.
        """
        import pandas as pd

        point = self._point(cell)
        cell_id, row = point["cell_id"], self._row(point)
        parts = [
            pd.DataFrame(
                {
                    "split": split,
                    "item": range(row[split]["num_items"]),
                    "score": row[split]["item_scores"],
                    "prediction": row[split]["predictions"],
                }
            )
            for split in _ITEM_SPLITS
            if row[split] and row[split]["num_items"] is not None
        ]
        if not parts:
            raise UserError(f"cell {cell_id[:12]} has no items: {row['status_reason'] or row['status']}")
        return pd.concat(parts, ignore_index=True)

    def program(self, cell: str) -> Path:
        """The program file of a cell.

        Args:
            cell: start of the id of a cell.

        Raises:
            UserError: no cell or several have such an id, it has no program, or the file is not in the folders.
        """
        point = self._point(cell)
        cell_id, sha256 = point["cell_id"], point["program_sha256"]
        if sha256 is None:
            raise UserError(f"cell {cell_id[:12]} has no program file: it is infeasible, or was imported")
        paths = [study.program_path(sha256) for study in self._sources]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise UserError(f"the program of cell {cell_id[:12]} is not there: looked for {', '.join(map(str, paths))}")
        return found

    def plot(
        self, task: str | None = None, model: Labels | None = None, *, ax: Axes | None = None, legend: bool = True
    ) -> Axes:
        """Complexity curves: every program of a task and the frontier of each base model, as in the figure of a task.

        Args:
            task: label of the task; None where the study has one only.
            model: labels of base models, None for all.
            ax: where to draw, None for a new figure. Axes that are given keep their own fonts and spines.
            legend: whether to put a legend at the right.

        Returns:
            The axes. Styles of other figures (`rcParams`) are left as they are.

        Raises:
            UserError: an unknown label, no program, or more base models than one panel holds.
        """
        from pipeline.report.panels import curves_panel

        task = self._task(task)
        models = self.models if model is None else self._known("model", model)
        return self._plotted(ax, legend, task, lambda axes, tables: curves_panel(axes, tables, task, models))

    def plot_families(
        self, task: str | None = None, model: str | None = None, *, ax: Axes | None = None, legend: bool = True
    ) -> Axes:
        """Programs and frontier of one task and base model, coloured by program family; see `plot`."""
        from pipeline.report.panels import families_panel

        task, model = self._task(task), self._model(model)
        title = f"{task}, {model}"
        return self._plotted(ax, legend, title, lambda axes, tables: families_panel(axes, tables, task, model))

    def plot_views(
        self, task: str | None = None, model: str | None = None, *, ax: Axes | None = None, legend: bool = True
    ) -> Axes:
        """The frontier of one task and base model, coloured by view, over that of each view alone; see `plot`."""
        from pipeline.report.panels import views_panel

        task, model = self._task(task), self._model(model)
        title = f"{task}, {model}"
        return self._plotted(ax, legend, title, lambda axes, tables: views_panel(axes, tables, task, model))

    def plot_checkpoints(
        self, task: str | None = None, family: str | None = None, *, ax: Axes | None = None, legend: bool = True
    ) -> Axes:
        """Frontiers of the checkpoints of a model family over one another, by stage of training; see `plot`.

        Args:
            task: label of the task; None where the study has one only.
            family: name of a model family, such as `smollm3`; None where the study has one only.
            ax: where to draw, None for a new figure.
            legend: whether to put a legend at the right.
        """
        from pipeline.report.panels import checkpoints_panel

        task = self._task(task)
        return self._plotted(ax, legend, task, lambda axes, tables: checkpoints_panel(axes, tables, task, family))

    def plot_trajectory(
        self, task: str | None = None, family: str | None = None, *, ax: Axes | None = None, legend: bool = True
    ) -> Axes:
        """Best score within fixed lengths, checkpoint by checkpoint of a model family; see `plot_checkpoints`."""
        from pipeline.report.panels import trajectory_panel

        task = self._task(task)
        return self._plotted(
            ax, legend, task, lambda axes, tables: trajectory_panel(axes, tables, task, family), has_lengths=False
        )

    def plot_reduction(self, task: str | None = None, *, ax: Axes | None = None, legend: bool = True) -> Axes:
        """What post-training saves: the length that reaches the best score of each earlier checkpoint; see `plot`."""
        from pipeline.report.panels import reduction_panel

        task = self._task(task)
        return self._plotted(ax, legend, task, lambda axes, tables: reduction_panel(axes, tables, task), has_notes=True)

    def _plotted(
        self, ax: Axes | None, legend: bool, title: str, draw: Callable[[Axes, Tables], Any], **panel: bool
    ) -> Axes:
        from pipeline.report.panels import finish
        from pipeline.report.style import house_style
        from pipeline.report.tables import LeftOut

        def drawn(axes: Axes) -> Axes:
            finish(axes, draw(axes, self._tables), title, has_legend=legend, **panel)
            return axes

        try:
            if ax is not None:
                return drawn(ax)
            # pyplot, so that a notebook shows the figure and `plt.savefig` finds it.
            from matplotlib import pyplot

            with house_style():
                figure = pyplot.figure(figsize=_FIGURE_INCHES, layout="constrained")
                try:
                    return drawn(figure.subplots())
                except (UserError, LeftOut):
                    pyplot.close(figure)
                    raise
        except LeftOut as reason:
            raise UserError(f"study {self.name} cannot be drawn so: {reason}") from reason

    @cached_property
    def _tables(self) -> Tables:
        from pipeline.report.tables import Tables

        return Tables(points=self.arrow("points").to_pylist(), frontier=self.arrow("frontier").to_pylist())

    def _chosen(self, table: pa.Table, **labels: Labels | None) -> pa.Table:
        for column, wanted in labels.items():
            if wanted is None:
                continue
            known = self._known(column, wanted)
            if column not in table.column_names:
                raise UserError(f"this table has no column {column!r} to choose by; leave {column}= out")
            table = table.filter(pc.is_in(table[column], value_set=pa.array(known, pa.string())))
        return table

    def _known(self, column: str, wanted: Labels) -> list[str]:
        """Labels that are wanted, all of which the study has."""
        known = self.scopes if column == "scope" else self._labels(column)
        labels = [wanted] if isinstance(wanted, str) else list(wanted)
        for label in labels:
            if label not in known:
                raise UserError(f"study {self.name}: {unknown_name(_NOUNS[column], label, known)}")
        return labels

    def _task(self, task: str | None) -> str:
        return self._only("task", self.tasks) if task is None else self._known("task", task)[0]

    def _model(self, model: str | None) -> str:
        return self._only("model", self.models) if model is None else self._known("model", model)[0]

    def _only(self, column: str, known: Sequence[str]) -> str:
        if len(known) != 1:
            raise UserError(
                f"study {self.name} has {len(known)} {_NOUNS[column]}s: choose one with {column}=, of "
                f"{', '.join(known) or 'none'}"
            )
        return known[0]

    @property
    def _points_path(self) -> Path:
        return self._study.table_path("points", "parquet")

    @cached_property
    def _num_points(self) -> int:
        return int(pq.read_metadata(self._points_path).num_rows)

    def _labels(self, column: str) -> list[str]:
        """Values of a column of the points, of which no other column is read."""
        from pipeline.reduce.points_file import iter_points

        if column not in self._values:
            parts = (pc.unique(points[column]).to_pylist() for points in iter_points(self._points_path, [column]))
            self._values[column] = sorted({value for part in parts for value in part})
        return self._values[column]

    def _point(self, start: str) -> dict[str, Any]:
        """`POINT_KEY` of the one cell whose id starts so."""
        from pipeline.reduce.points_file import iter_points

        found: dict[str, dict[str, Any]] = {}
        for points in iter_points(self._points_path, POINT_KEY):
            of_start = points.filter(pc.starts_with(points["cell_id"], start))
            found |= {point["cell_id"]: point for point in of_start.to_pylist()}
        return found[unique_id(start, found)]

    def _row(self, point: Mapping[str, Any]) -> dict[str, Any]:
        found = (row_of_point(study, point) for study in self._sources)
        row = next((row for row in found if row is not None), None)
        if row is not None:
            return row
        folders = ", ".join(str(study.folder) for study in self._sources)
        raise UserError(
            f"no shard of cell {point['cell_id'][:12]} with the program of the tables in {folders}; tables of several "
            "folders find it where they were made: reduce_studies(FOLDER, ..., out=...)"
        )


_NOUNS = {"task": "task", "model": "base model", "scope": "scope"}
"""Column -> what its labels are called."""


def _frame(table: pa.Table) -> DataFrame:
    import pandas as pd

    # Without these an integer or a boolean with a null would become a float or an object.
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return table.to_pandas(types_mapper=nullable.get)


def _text(path: StudyName | None) -> str | None:
    return None if path is None else str(path)
