"""Numbers of the reduced tables as people read them."""

from __future__ import annotations

from collections.abc import Callable

UNKNOWN = "?"
"""An end of an interval that is not established."""

_UNITS = ("KiB", "MiB", "GiB")


def round_length(bits: float) -> str:
    """`1.21 KiB` for 9,912 bits: whole bytes, from 1 KiB on three significant digits."""
    size = bits / 8
    if round(size) < 1024:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1024
        if size < 999.5:  # from there on three digits would not do
            return f"{size:.3g} {unit}"
    return f"{size:,.0f} {unit}"


def round_ratio(ratio: float) -> str:
    """Two significant digits: `0.42`, `1.0`, `17,000,000`."""
    rounded = float(f"{ratio:.2g}")
    return f"{rounded:#.2g}" if abs(rounded) < 10 else f"{rounded:,.0f}"


def format_score(score: float | None) -> str:
    """One decimal, more where that would hide a small score; a null score says so."""
    if score is None:
        return "none"
    if score == 0 or abs(score) >= 1:
        return f"{score:.1f}"
    return f"{score:.2f}" if abs(score) >= 0.01 else f"{score:.1g}"


def format_interval(low: float | None, high: float | None, form: Callable[[float], str] = format_score) -> str:
    """`[20.3, 42.2]`, `?` for one end that is not established, and nothing where there is no interval."""
    if low is None and high is None:
        return ""
    return f"[{', '.join(UNKNOWN if end is None else form(end) for end in (low, high))}]"
