"""One program, for people: parts of its length, decoder, payload, scores, how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from pipeline.cell import format_bytes
from pipeline.errors import TaskComplexityError, UserError
from pipeline.models.spec import staged_by_identity
from pipeline.program_file import unpack
from pipeline.rows import iter_rows, read_row, study_of_program
from pipeline.status import unique_id
from pipeline.store import Study, results_folder

PREVIEW_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowResult:
    """A cell and its program.

    Attributes:
        row: the shard, its item columns left out.
        source: minified source of the decoder, None for an infeasible cell and where the program file is not there.
        program: place of the program file, None for an infeasible cell.
    """

    row: dict[str, Any]
    source: str | None
    program: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {name: str(value) if hasattr(value, "isoformat") else value for name, value in self.row.items()} | {
            "source": self.source,
            "program": self.program,
        }

    def render(self, console: Console) -> None:
        """Print for people."""
        row = self.row
        table = Table(title=Text(f"{row['task']} / {row['model']} / {row['family']}"), show_header=False)

        def add(name: str, value: str) -> None:
            table.add_row(name, Text(value))

        add("cell", row["cell_id"])
        add("parameters", f"{row['parameters']}  chosen: {row['settings']}")
        bits = row["program_length_bits"]
        if bits is not None:
            parts = " + ".join(f"{name} {row[f'{name}_bits']:,}" for name in ("decoder", "payload", "container"))
            add("length", f"{bits:,} bits ({format_bytes(bits / 8)}) = {parts}")
        if row["coded_bits"] is not None:
            add("coding", f"{row['coded_bits']:,} bits, ideal {row['nll_bits']:.1f} under the model")
        for split in ("validation", "test"):
            if scores := row[split]:
                items = "" if scores["num_items"] is None else f" on {scores['num_items']} items"
                table.add_row(split, f"{row['metric']} {scores['performance']:.2f}{items}")
        if self.source is None:
            # An infeasible cell says why; what was imported has results, and no program that could be run.
            why = f"{self.program} is not there: shards came without programs" if self.program else None
            add("no program", why or row["status_reason"] or row["status"])
            console.print(table)
            return
        add("made on", f"{row['machine_class']}, isolation {row['isolation']}")
        add("run", f"python {self.program} {self._model_folder()} < inputs.jsonl > outputs.jsonl")
        console.print(table)
        console.print(Syntax(self.source, "python", word_wrap=True))
        if row["payload_text"]:
            console.print("payload, as text:", row["payload_text"][:PREVIEW_CHARACTERS], sep="\n", markup=False)

    def _model_folder(self) -> str:
        try:
            return str(staged_by_identity(self.row["model_identity"]).folder)
        except UserError:
            return f"MODEL_DIR (the staged folder of {self.row['model']}, which is not on this machine)"


def _find(start: str, results: Path) -> tuple[Study, str]:
    """The study below a folder that has the one cell whose id starts so."""
    studies = [Study(entry) for entry in sorted(results.iterdir()) if entry.is_dir()] if results.is_dir() else []
    places = {cell_id: study for study in studies for cell_id in study.listed_cells()}
    if not any(cell_id.startswith(start) for cell_id in places):
        known = ", ".join(study.name for study in studies) or "none"
        raise UserError(
            f"no study in {results}/ has a cell whose id starts with {start!r}; studies there: {known}. "
            "`tcx status STUDY --cells '*'` lists the cells of one"
        )
    cell_id = unique_id(start, places)
    return places[cell_id], cell_id


def show(name: str, *, results: str | None) -> ShowResult:
    """Finds a cell by the start of its id in all studies, or by the path of its program file.

    Raises:
        UserError: there is none, or several.
        TaskComplexityError: its program file is damaged.
    """
    path = Path(name)
    if path.suffix or len(path.parts) > 1:  # ids have neither
        study = study_of_program(path)
        named = iter_rows(study, ["program_sha256"])
        cell_id = next(row["cell_id"] for row in named if row["program_sha256"] == path.stem)
    else:
        study, cell_id = _find(name, results_folder(results))
    row = read_row(study, cell_id)
    program = study.program_path(row["program_sha256"]) if row["program_sha256"] else None
    return ShowResult(
        row={
            key: {"performance": value["performance"], "num_items": value["num_items"]}
            if key in ("validation", "test") and value
            else value
            for key, value in row.items()
        },
        source=_source(program) if program and program.is_file() else None,
        program=str(program) if program else None,
    )


def _source(program: Path) -> str:
    try:
        return unpack(program.read_bytes())[0]
    except ValueError as error:
        raise TaskComplexityError(f"{program} is damaged: {error}; restore it from a copy of the study") from error
