"""The worker inside of this very process: for a debugger, a profiler, or a look at one cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.loaded_model import LoadedModel
from pipeline.models.spec import cache_folder
from pipeline.runner import Runner
from pipeline.worker import run_group


class Inline:
    """What `pool.Worker` does, without a process of its own; a breakpoint in an encoder stops here."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._loaded = LoadedModel(self._events.append)
        self._runner: Runner | None = None

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """Makes the shards that a group lacks; its events come when it is through with the group."""
        self._runner = self._runner or Runner(cache_folder(), warm=True)
        run_group(str(study_folder), str(plan_path), group_id, self._runner, self._events.append, self._loaded)
        yield from self._events
        self._events.clear()

    def ask_to_stop(self) -> None:
        """Nothing: who could ask is busy with the group."""

    def kill(self) -> None:
        """Nothing: it ends with this process."""

    def close(self) -> None:
        """Ends the process that programs are forked from."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
