"""The file itself: template, styles and scripts of this folder, the plotting library, and what they show."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UserError
from pipeline.report.page.columns import deflated

_ASSETS = Path(__file__).with_name("assets")
_FIRST_MODULE = "main"
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|const) (\w+)", re.MULTILINE)
_MARK = re.compile(r"<!--\[([a-z]+)\]-->")


def page_bytes(title: str, data: str, details: str) -> bytes:
    """The page.

    Args:
        title: of the document.
        data: what is shown at once, of `columns.packed`.
        details: what is shown on demand, of `columns.deflated`.

    Raises:
        UserError: the plotting library is not installed.
    """
    parts = {
        "title": html.escape(title),
        "style": (_ASSETS / "page.css").read_text(encoding="utf-8"),
        "script": script(),
        "plotly": deflated(_plotly()),
        "data": data,
        "details": details,
    }
    template = (_ASSETS / "page.html").read_text(encoding="utf-8")
    return _filled(template, parts).encode()


def script() -> str:
    """The modules of the page as one script: each a function that gives its exports, after those that it imports.

    An inline module cannot import another one.
    """
    order: dict[str, str] = {}

    def add(name: str) -> None:
        if name in order:
            return
        source = (_ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8")
        for _, imported in _IMPORT.findall(source):
            add(imported)
        exports = ", ".join(exported for _, exported in _EXPORT.findall(source))
        body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(r"const \1 = modules.\2;", source))
        order[name] = f"modules.{name} = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();\n"

    add(_FIRST_MODULE)
    return "(() => {\n'use strict';\nconst modules = {};\n" + "\n".join(order.values()) + "})();\n"


def _filled(template: str, parts: Mapping[str, str]) -> str:
    # In one pass: no part is looked through for the marks of others.
    return _MARK.sub(lambda mark: parts[mark.group(1)], template)


def _plotly() -> bytes:
    """The plotting library's script, from the package that carries it, which is not imported."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise UserError("the page needs the package plotly: pip install plotly")
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
