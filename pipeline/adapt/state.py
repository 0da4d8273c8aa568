"""How what is trained is written into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_state(state: dict[str, Any], path: Path) -> None:
    """Writes tensors and numbers as `torch.save` does.

    Raises:
        OSError: they cannot be written; torch by itself keeps the reason, such as a full disk, to itself.
    """
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
