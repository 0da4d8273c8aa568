"""Numbers as -1, 0 or 1 times one value, and these as one large whole number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Signs = npt.NDArray[np.int8]


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


class CodedSigns(NamedTuple):
    """Signs as the decoders `gains` and `scales` read them.

    Attributes:
        payload: the whole number that they are.
        slots: one of these stands for -1, one for 1, and all others for 0.
    """

    payload: bytes
    slots: int


def code_signs(signs: Signs) -> CodedSigns:
    """Codes signs by asymmetric numeral systems (Duda, arXiv 1311.2540).

    The state is a whole number without bounds, so that nothing is ever moved out of it; of all whole numbers of slots
    the one is taken that gives the shortest code.
    """
    kept = int(np.count_nonzero(signs))
    best = 2 * len(signs) // max(kept, 1)
    least = 2 if kept == len(signs) else 3  # without a slot for 0 there are no zeros
    states = {slots: _state(signs, slots) for slots in range(max(best, least), max(best, least) + 2)}
    slots = min(states, key=lambda it: states[it])
    return CodedSigns(states[slots].to_bytes((states[slots].bit_length() + 7) // 8), slots)


def _state(signs: Signs, slots: int) -> int:
    """State from which a decoder reads these signs, the first one first."""
    zeros, state = slots - 2, 1
    for sign in reversed(signs.tolist()):
        state = state * slots + (sign > 0) if sign else state // zeros * slots + state % zeros + 2
    return state
