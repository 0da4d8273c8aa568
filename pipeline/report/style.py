"""How a figure is written: fonts, lines, and files with the same bytes on every run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

FORMATS = ("svg", "png", "pdf")
"""Every figure is written in each of these."""

_RC_PARAMS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.parse_math": False,  # labels are names and paths
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    # Text as outlines looks the same on every machine; the same salt gives the same bytes on every run.
    "svg.fonttype": "path",
    "svg.hashsalt": "task-complexity",
    "pdf.fonttype": 42,
}

_WRITERS: Mapping[str, Callable[[Figure], Callable[..., None]]] = {
    "svg": lambda figure: FigureCanvasSVG(figure).print_svg,
    "png": lambda figure: FigureCanvasAgg(figure).print_png,
    "pdf": lambda figure: FigureCanvasPdf(figure).print_pdf,
}
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": "task-complexity"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "task-complexity"},
}
_PNG_DOTS_PER_INCH = 220
_POINTS_PER_INCH = 72


def house_style() -> AbstractContextManager[None]:
    """Context in which figures are made and written."""
    return matplotlib.rc_context(_RC_PARAMS)


def text_inches(text: str, points: float, *, is_bold: bool = False) -> float:
    """Width of a text as it is drawn, in inches; of its longest line, if there are several."""
    font = FontProperties(family=_RC_PARAMS["font.family"], weight="bold" if is_bold else "normal", size=points)
    lines = [text_to_path.get_text_width_height_descent(line, font, ismath=False) for line in text.split("\n") if line]
    return float(max((width for width, _, _ in lines), default=0.0)) / _POINTS_PER_INCH


def fitted(text: str, points: float, inches: float, *, is_bold: bool = False) -> str:
    """A line of text that is no wider than this; where it is too long its middle is left out."""
    for length in range(len(text), 2, -1):
        part = text if length == len(text) else f"{text[: length // 2]}…{text[len(text) - (length - length // 2) :]}"
        if text_inches(part, points, is_bold=is_bold) <= inches:
            return part
    return text[:1]


def arrange(figure: Figure) -> None:
    """Put panels and legends in their places, for good: it is slow, and all formats shall agree."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def figure_bytes(figure: Figure) -> dict[str, bytes]:
    """The figure in each of `FORMATS`; the same figure always gives the same bytes."""
    contents = {}
    with house_style():
        arrange(figure)
        for suffix in FORMATS:
            buffer = io.BytesIO()
            # `savefig` would draw each format twice. The writer of SVG leaves another resolution behind.
            figure.set_dpi(_PNG_DOTS_PER_INCH)
            _WRITERS[suffix](figure)(buffer, metadata=dict(_METADATA[suffix]))
            contents[suffix] = buffer.getvalue()
    return contents
