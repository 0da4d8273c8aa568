"""What `family: auto` chooses among where a grid does not say."""

from __future__ import annotations

from typing import Any

AUTO = "auto"
"""Name in the place of a family."""

CANDIDATES: list[dict[str, Any]] = [
    {"family": "urial"},
    {"family": "icl"},
    {"family": "prompt-search"},
    {"family": "plain-subset", "lr": [3e-5, 5e-5, 1e-4]},
    {"family": "plain-subset", "weights": "adapter", "lr": [1e-3, 2e-3], "epochs": 3},
    {"family": "plain-subset", "shown": 2, "epochs": 3},
    {"family": "subset", "lr": [1e-3, 2e-3], "epochs": [1, 3]},
    {"family": "taught", "lr": [1e-3, 2e-3]},
    {"family": "tuner", "numbers": [512, 4096], "rank": 1, "lr": [5e-2, 1e-1], "examples": 512, "epochs": 1},
    {
        "family": "gains",
        "numbers": [1024, 4096, 16384],
        "examples": 1024,
        "epochs": 2,
        "rounded_epochs": 6,
        "rounded_decay": [0.05, 0.3],
    },
    {"family": "scales", "numbers": 131072, "examples": 1024, "epochs": 2, "rounded_epochs": 6},
    {"family": "lora", "lr": [3e-3, 1e-2], "examples": 512, "epochs": 1},
]
"""Program entries as in a grid file; each fills the budgets."""
