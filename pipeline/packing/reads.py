"""Puts a value in the place of its name where the next statement reads it, once and before it does anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator

IN_ORDER = (ast.BinOp, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.keyword)
"""What computes its parts one after another, and all of them."""


def without_single_reads(module: ast.Module) -> ast.Module:
    """The module without assignments to a name that is read once, first thing in the statement behind.

    Args:
        module: changed in place.
    """
    names = [node.id for node in ast.walk(module) if isinstance(node, ast.Name)]
    if {"locals", "globals", "vars", "eval", "exec"} & {*names}:
        return module
    # Names that a call may bind anew while the value waits.
    changing = {name for node in ast.walk(module) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    imports = [node for node in ast.walk(module) if isinstance(node, ast.Import)]
    modules = {alias.asname or alias.name for node in imports for alias in node.names}
    for statements in _blocks(module):
        for place in reversed(range(len(statements) - 1)):
            statement, after = statements[place : place + 2]
            name = _only_target(statement)
            if name is None or names.count(name) != 2 or name in changing:
                continue
            read = _first_read(_first_of(after), name, changing, modules)
            if read is not None:
                assert isinstance(statement, ast.Assign)
                _Put(read, statement.value).visit(after)
                del statements[place]
    return module


def _blocks(module: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(module):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _only_target(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None


def _first_of(statement: ast.stmt) -> ast.AST | None:
    """What a statement computes first."""
    if isinstance(statement, ast.For):
        return statement.iter
    if isinstance(statement, ast.If):
        return statement.test
    return statement.value if isinstance(statement, (ast.Expr, ast.Assign, ast.Return)) else None


def _first_read(node: ast.AST | None, name: str, changing: set[str], modules: set[str]) -> ast.AST | None:
    """Where a name is read, if nothing is computed before but names, constants and what a module has."""
    if isinstance(node, ast.Name):
        return node if node.id == name else None
    if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        return _first_read(node.generators[0].iter, name, changing, modules)
    if not isinstance(node, IN_ORDER):
        return None
    # The keys of a dictionary stand before all of its values, so they must be constants.
    for part in ast.iter_child_nodes(node):
        if any(isinstance(it, ast.Name) and it.id == name for it in ast.walk(part)):
            return _first_read(part, name, changing, modules)
        if not _is_plain(part, changing, modules):
            return None
    return None


def _is_plain(node: ast.AST, changing: set[str], modules: set[str]) -> bool:
    """Whether something is the same a little earlier and later."""
    while isinstance(node, ast.Attribute):
        node = node.value
        if isinstance(node, ast.Name) and node.id not in modules:
            return False
    if isinstance(node, ast.Name):
        return node.id not in changing
    return isinstance(node, (ast.Constant, ast.expr_context, ast.operator))


class _Put(ast.NodeTransformer):
    """One node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
