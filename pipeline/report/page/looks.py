"""Colours, markers and dashes of `palette` as the page draws them, lighter where a dark page would hide them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.colors import to_hex, to_rgb

from pipeline.report.palette import STAGE_STYLES, family_styles, length_styles, model_styles, view_styles

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "+": "cross",
    "P": "cross",
    "x": "x",
    "X": "x",
    "h": "hexagon",
    "H": "hexagon2",
    "8": "octagon",
    "p": "pentagon",
    "*": "star",
}
"""Marker of matplotlib -> symbol of plotly."""

_DARK_PAGE = "#14171a"
_LEAST_CONTRAST = 4.0
_DASH_PIXELS = 1.7
_STEPS = 40

Looks = Mapping[str, Mapping[str, Any]]


def looks_of(
    *,
    families: Sequence[str],
    views: Iterable[str],
    models: Sequence[str],
    seeds: Sequence[str],
    studies: Sequence[str],
) -> dict[str, Looks]:
    """What the page may be coloured by -> value -> how it looks.

    Args:
        families: program families.
        views: views of the hypothesis.
        models: labels of the base models.
        seeds: seeds, as text.
        studies: names of the studies.
    """
    return {
        "family": {name: _look(it.color, it.marker, it.line) for name, it in family_styles(families).items()},
        "view": {name: _look(it.color, it.marker, it.line) for name, it in view_styles(views).items()},
        "model": {name: _look(it.color, "o", it.line) for name, it in model_styles(models).items()},
        "stage": {name: _look(it.color, it.marker, it.line) for name, it in STAGE_STYLES.items()},
        "seed": _ordered(seeds),
        "study": _ordered(studies),
    }


def length_looks(lengths: Sequence[int]) -> list[Mapping[str, Any]]:
    """How a row of lengths looks."""
    return [_look(it.color, it.marker, it.line) for it in length_styles(len(lengths))]


def on_dark(color: str) -> str:
    """The colour, mixed with just so much white that it stands out on a dark page."""
    red, green, blue = to_rgb(color)
    for step in range(_STEPS):
        share = step / _STEPS
        mixed = tuple(part + share * (1 - part) for part in (red, green, blue))
        if _contrast(mixed, to_rgb(_DARK_PAGE)) >= _LEAST_CONTRAST:
            break
    return str(to_hex(mixed))


def _ordered(names: Sequence[str]) -> Looks:
    styles = length_styles(len(names))
    return {name: _look(it.color, it.marker, it.line) for name, it in zip(names, styles, strict=True)}


def _look(color: str, marker: str, line: Any) -> Mapping[str, Any]:
    return {"light": to_hex(color), "dark": on_dark(color), "symbol": _SYMBOLS[marker], "dash": _dash(line)}


def _dash(line: Any) -> str:
    if isinstance(line, str):
        return "solid"
    return ",".join(f"{_DASH_PIXELS * part:.1f}px" for part in line[1])


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Ratio of luminances as the Web Content Accessibility Guidelines define it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: Sequence[float]) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
