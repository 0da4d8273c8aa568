"""Names in a syntax tree: what sets them, and others in their place."""

from __future__ import annotations

import ast
from collections.abc import Mapping


def set_by(node: ast.AST) -> list[str]:
    """Names that a node sets or deletes, in whatever way, what is within it left out."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.alias):
        return [node.asname or node.name.split(".")[0]]
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    name = getattr(node, "name", None) or getattr(node, "rest", None)  # of a function, a class, an exception, a pattern
    return [name] if isinstance(name, str) else []


def passes_by_name(node: ast.AST) -> bool:
    """Whether arguments of unknown names are passed or taken: of any function, but those of `format` are of a text."""
    if isinstance(node, ast.Call) and any(keyword.arg is None for keyword in node.keywords):
        return not (isinstance(node.func, ast.Attribute) and node.func.attr == "format")
    return isinstance(node, ast.arguments) and node.kwarg is not None


class Rename(ast.NodeTransformer):
    """Other names for those that a source sets."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take the new name of each; what is not among them keeps its own."""
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name that is set, read or deleted."""
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """A parameter, its annotation left out."""
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function."""
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.Nonlocal | ast.Global:
        """Names of a function around."""
        return ast.Nonlocal([self.names.get(name, name) for name in node.names])
