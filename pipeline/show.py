"""One program, for people: parts of its length, decoder, payload, scores, how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from pipeline.cell import format_bytes
from pipeline.errors import UserError
from pipeline.program_file import unpack
from pipeline.rows import iter_rows, read_row
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
        table = Table(title=f"{row['task']} / {row['model']} / {row['family']}", show_header=False)
        table.add_row("cell", row["cell_id"])
        table.add_row("parameters", f"{row['parameters']}  chosen: {row['settings']}")
        bits = row["program_length_bits"]
        if bits is not None:
            parts = " + ".join(f"{name} {row[f'{name}_bits']:,}" for name in ("decoder", "payload", "container"))
            table.add_row("length", f"{bits:,} bits ({format_bytes(bits / 8)}) = {parts}")
        if row["coded_bits"] is not None:
            table.add_row("coding", f"{row['coded_bits']:,} bits, ideal {row['nll_bits']:.1f} under the model")
        for split in ("validation", "test"):
            if scores := row[split]:
                items = "" if scores["num_items"] is None else f" on {scores['num_items']} items"
                table.add_row(split, f"{row['metric']} {scores['performance']:.2f}{items}")
        if self.source is None:
            # An infeasible cell says why; what was imported has results, and no program that could be run.
            why = f"{self.program} is not there: shards came without programs" if self.program else None
            table.add_row("no program", why or row["status_reason"] or row["status"])
            console.print(table)
            return
        table.add_row("made on", f"{row['machine_class']}, isolation {row['isolation']}")
        table.add_row("run", f"python {self.program} MODEL_DIR < inputs.jsonl > outputs.jsonl")
        console.print(table)
        console.print(Syntax(self.source, "python", word_wrap=True))
        if row["payload_text"]:
            console.print("payload, as text:", row["payload_text"][:PREVIEW_CHARACTERS], sep="\n", markup=False)


def show(name: str, *, results: str | None) -> ShowResult:
    """Finds a cell by the start of its id in all studies, or by the path of its program file.

    Raises:
        UserError: there is none, or several.
    """
    folder = results_folder(results)
    path = Path(name)
    if path.suffix == ".pyz" and path.is_file():
        study = Study(path.resolve().parents[2])
        named = (row["cell_id"] for row in iter_rows(study, ["program_sha256"]) if row["program_sha256"] == path.stem)
        cell_id = next(named, None)
        if cell_id is None:
            raise UserError(f"no shard of {study.folder} names the program {path.name}")
    else:
        studies = [Study(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()] if folder.is_dir() else []
        places = {cell_id: study for study in studies for cell_id in study.listed_cells()}
        cell_id = unique_id(name, places)
        study = places[cell_id]
    row = read_row(study, cell_id)
    program = study.program_path(row["program_sha256"]) if row["program_sha256"] else None
    return ShowResult(
        row={
            key: {"performance": value["performance"], "num_items": value["num_items"]}
            if key in ("validation", "test") and value
            else value
            for key, value in row.items()
        },
        source=unpack(program.read_bytes())[0] if program and program.is_file() else None,
        program=str(program) if program else None,
    )
