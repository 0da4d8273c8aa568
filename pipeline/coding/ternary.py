"""Numbers as -1, 0 or 1 times one value, and these as letters of a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Signs = npt.NDArray[np.int8]

IN_A_LETTER = 3
FIRST_LETTER = 54
"""Of 27 letters in a row that no source has to escape; 54 is a multiple of 27, which saves the decoder a difference."""


def nearest_kept(numbers: Floats) -> int:
    """How many numbers, the largest by magnitude, to keep so that the squared error of the nearest value is least.

    The best value is the mean magnitude of what is kept (ternary weight networks, arXiv 1605.04711).
    """
    magnitudes = np.sort(np.abs(numbers).astype(np.float64))[::-1]
    gain = np.square(np.cumsum(magnitudes)) / np.arange(1, len(magnitudes) + 1)
    return int(gain.argmax()) + 1


def largest(numbers: Floats, kept: int) -> Signs:
    """Signs of the `kept` numbers that are largest by magnitude, 0 for all others."""
    signs = np.zeros(len(numbers), np.int8)
    places = np.argsort(-np.abs(numbers), kind="stable")[:kept]
    signs[places] = np.sign(numbers[places])
    return signs


def letters(signs: Signs) -> bytes:
    """A letter for each three signs, as the decoder `gains` reads them; deflate is their entropy code.

    Three, because a code of deflate has at least one bit, and a sign is often worth less.
    """
    digits = np.pad(signs + 1, (0, -len(signs) % IN_A_LETTER), constant_values=1).reshape(-1, IN_A_LETTER)
    powers = 3 ** np.arange(IN_A_LETTER)
    return bytes((FIRST_LETTER + digits @ powers).tolist())
