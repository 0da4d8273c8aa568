"""The base model that a worker holds between groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

_MARKED_NUMBERS = 4099
"""One of so many numbers of a weight tells whether it was changed: enough for an optimiser, which moves them all. A
prime, so that the same few columns are not looked at in every row."""


class LoadedModel:
    """The base model that a worker holds between groups, so that it is loaded once and not once a group.

    Families give it back as they got it; one that does not costs the next group a load.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        """Tell `emit` of each load."""
        self._emit = emit
        self._folder: Path | None = None
        self._loaded: tuple[Any, Any] | None = None
        self._mark: object = None

    def load(self, folder: Path) -> tuple[Any, Any]:
        """Model and tokenizer of a staged folder, as `decoder_parts.base.load` gives them."""
        from pipeline.decoder_parts.base import load

        if self._loaded is None or self._folder != folder or self._mark != _weights_mark(self._loaded[0]):
            self._loaded = None  # before the next one is loaded: two may not fit
            self._loaded = load(str(folder))
            self._folder, self._mark = folder, _weights_mark(self._loaded[0])
            self._emit({"event": "load", "model": str(folder)})
        return self._loaded


def _weights_mark(model: Any) -> object:
    """Changes when a module is put in another's place or a weight is written to.

    Some numbers of each weight are looked at, besides its version, which fused optimisers do not raise.
    """
    return [
        (name, weight.data_ptr(), weight._version, weight.detach().flatten()[::_MARKED_NUMBERS].tolist())
        for name, weight in model.named_parameters()
    ]
