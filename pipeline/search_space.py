"""What `family: auto` chooses among where a grid does not say."""

from __future__ import annotations

from typing import Any

AUTO = "auto"
"""Name in the place of a family."""

CANDIDATES: list[dict[str, Any]] = [
    {"family": "urial"},
    {"family": "icl"},
    {"family": "subset", "lr": [1e-3, 3e-3], "epochs": [1, 3]},
    {"family": "lora", "lr": [3e-3, 1e-2], "epochs": 2},
]
"""Program entries as in a grid file; each fills the budgets."""
