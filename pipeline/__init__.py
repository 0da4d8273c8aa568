"""Task complexity: how few bits adapt a language model to a task.

In a notebook: `import pipeline as tcx`, then `tcx.read_study("quickstart")`. Names are imported on first use, so that
`import pipeline` itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import ReducedStudy, read_study, reduce_studies

__all__ = ["ReducedStudy", "read_study", "reduce_studies"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipeline.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
