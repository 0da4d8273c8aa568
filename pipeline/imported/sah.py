"""`tcx import sah`: the published results of arXiv 2602.15829 as shards of a study."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline import catalog, schema
from pipeline.cell import canonical_json
from pipeline.errors import InvalidShardError, NewerShardError, UserError
from pipeline.grid import STUDY_NAME
from pipeline.imported.mapping import Mapped, mapped
from pipeline.imported.published import published_rows
from pipeline.metrics import METRICS
from pipeline.rows import read_row
from pipeline.store import Study, results_folder

IMPORT_FORMAT = 1
"""Version of the identity of an imported row."""

REASONS = {
    "zero-length-prompt": (
        "a prompt with demonstrations cannot have zero length; the published coder loses every text of more than about "
        "6,644 bits"
    ),
    "repeated": "the file has the same row before; the first one counts",
    "differs": "the study holds another result of this row, of another file; import into a study of its own",
}
"""Why a row is not imported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A row that is not imported.

    Attributes:
        line: its line in the file.
        label: task, model, published family, parameters.
        reason: one of `REASONS`.
    """

    line: int
    label: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """What became of the rows of a file.

    `num_rows == num_new + num_present + len(rejected)`.

    Attributes:
        study: where the shards are.
        source: path of the file.
        source_sha256: its digest.
        num_rows: its rows.
        num_new: rows that became shards now.
        num_present: rows that were shards before.
        rejected: rows that are not imported, in the order of the file.
    """

    study: Study
    source: str
    source_sha256: str
    num_rows: int
    num_new: int
    num_present: int
    rejected: tuple[Rejected, ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"{self.source}: {self.num_rows:,} rows, {self.num_new:,} imported into {self.study.folder}"]
        if self.num_present:
            lines.append(f"{self.num_present:,} were imported before" + ("" if self.num_new else "; nothing to do"))
        for reason, meaning in REASONS.items():
            rows = [row for row in self.rejected if row.reason == reason]
            if rows:
                lines.append(f"{len(rows):,} rejected, {reason}: {meaning}")
                lines += [f"  line {row.line}: {row.label}" for row in rows]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study.name,
            "study_folder": str(self.study.folder),
            "source": self.source,
            "source_sha256": self.source_sha256,
            "rows": self.num_rows,
            "imported": self.num_new,
            "present": self.num_present,
            "rejected": [
                {"line": row.line, "row": row.label, "reason": row.reason, "meaning": REASONS[row.reason]}
                for row in self.rejected
            ],
        }


def import_sah(path: Path, study: str, *, results: str | None) -> Import:
    """Makes a shard of every row of the published JSON lines. Importing a file again does nothing.

    A row is known by task, model, published family, parameters and seed. Of two rows of the file that agree in all of
    these the first one counts.

    Args:
        path: the file.
        study: name of the study, which is made if there is none.
        results: folder of the studies, None for the default.

    Raises:
        UserError: the file cannot be read, has no rows, or has a line that is no result; nothing is then written.
    """
    if not STUDY_NAME.fullmatch(study):
        raise UserError(
            f"a study is named by letters, digits, '.', '_' and '-', the first a letter or digit; {study!r} given"
        )
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    rows = [mapped(row, f"{path}, line {row.line}") for row in published_rows(text, str(path))]
    if not rows:
        raise UserError(f"{path} has no rows; give the published JSON lines, one object a line")
    sha256 = hashlib.sha256(content).hexdigest()
    folder = Study(results_folder(results) / study)
    seen: set[str] = set()
    num_new, num_present, rejected = 0, 0, []
    for row in rows:
        shard = _shard(row, sha256)
        reason = _objection(row, shard, seen)
        if reason is None:
            found = _found(folder, shard["cell_id"])
            reason = None if found is None or _same(found, shard) else "differs"
        if reason is not None:
            rejected.append(Rejected(line=row.row.line, label=_label(row), reason=reason))
        elif found is None and folder.commit_shard(shard):
            num_new += 1
        else:
            num_present += 1
        seen.add(shard["cell_id"])
    return Import(
        study=folder,
        source=str(path),
        source_sha256=sha256,
        num_rows=len(rows),
        num_new=num_new,
        num_present=num_present,
        rejected=tuple(rejected),
    )


def imported_id(row: Mapped) -> str:
    """Identity of an imported row: everything that tells it from other rows, and nothing of its result."""
    content = {
        "import_format": IMPORT_FORMAT,
        "task": row.task,
        "model": row.row.model,
        "experiment": row.row.experiment,
        "family": row.family,
        "parameters": dict(row.parameters),
        "seed": row.row.seed,
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _objection(row: Mapped, shard: Mapping[str, Any], seen: set[str]) -> str | None:
    if shard["cell_id"] in seen:
        return "repeated"
    return "zero-length-prompt" if row.family == "icl" and row.row.bits == 0 else None


def _shard(row: Mapped, source_sha256: str) -> dict[str, Any]:
    """The row of the shard. What nobody published is null."""
    shard: dict[str, Any] = {name: None for name in schema.SHARD.names}
    test: dict[str, Any] = {field.name: None for field in schema.SPLIT_SCORES}
    return shard | {
        "schema_version": schema.SCHEMA_VERSION,
        "cell_id": imported_id(row),
        "task": row.task,
        "model": row.row.model,
        "family": row.family,
        "view": catalog.family(row.family).view,
        "parameters": canonical_json(dict(row.parameters)),
        "seed": row.row.seed,
        "status": schema.IMPORTED,
        "status_reason": f"published result of arXiv 2602.15829 ({row.row.experiment}); there is no program file",
        "program_length_bits": row.row.bits + row.script_bits,
        "decoder_bits": row.script_bits,
        "payload_bits": row.row.bits,
        "container_bits": 0,
        "settings": canonical_json(
            {"experiment": row.row.experiment, "source_line": row.row.line, "source_sha256": source_sha256}
        ),
        "metric": row.metric,
        "higher_is_better": METRICS[row.metric].higher_is_better,
        "test": test | {"performance": row.performance},
    }


def _found(folder: Study, cell_id: str) -> dict[str, Any] | None:
    """The shard of an earlier import. One that is damaged counts as none: writing it again moves it aside."""
    try:
        return read_row(folder, cell_id)
    except NewerShardError:
        raise
    except (FileNotFoundError, InvalidShardError):
        return None


def _same(found: Mapping[str, Any], shard: Mapping[str, Any]) -> bool:
    """Whether two shards of one row hold the same result; they may come of files with other rows around it."""
    return bool(
        found["program_length_bits"] == shard["program_length_bits"]
        and found["test"]["performance"] == shard["test"]["performance"]
    )


def _label(row: Mapped) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in row.parameters.items())
    return f"{row.task} / {row.row.model} / {row.row.experiment}" + (f" ({parameters})" if parameters else "")
