"""Scales of weights out of one large whole number."""

from __future__ import annotations


def read_scales(code: int, slots: int, zeros: int, least: float, extent: float) -> list[float]:
    """Scales that `pipeline.coding.ternary` has coded by asymmetric numeral systems: `least`, 1 or `least + extent`.

    Args:
        code: the whole number.
        slots: one of these stands for the smallest scale, one for the largest, and all others for 1.
        zeros: these others.
        least: the smallest.
        extent: from the smallest to the largest; half of it is from the smallest to 1.
    """
    scales: list[float] = []
    while code > 1:
        code, slot = divmod(code, slots)
        if slot > 1:
            code = code * zeros + slot - 2
            slot = 0.5  # type: ignore[assignment]
        scales += (slot * extent + least,)
    return scales
