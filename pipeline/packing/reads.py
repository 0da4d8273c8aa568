"""Puts a value in the place of its name where the next statement reads it, once and before it does anything.

Strict on purpose: what could mean something else in another place, or live shorter, stays where it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.packing.calls import set_by

IN_ORDER = (ast.BinOp, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.keyword)
"""What computes its parts one after another, and all of them."""
REFLECTION = {"locals", "globals", "vars", "eval", "exec", "dir"}
PAUSES = (ast.Yield, ast.YieldFrom, ast.Await)
LIFETIMES = {"ctypes", "gc", "weakref"}
"""Modules that can tell when an object goes, which without a name is earlier."""
LASTING = {"numpy", "peft", "torch", "transformers"}
"""Modules whose objects take nothing with them when they go, as a file or a temporary folder does."""


def without_single_reads(module: ast.Module) -> ast.Module:
    """The module without assignments to a name that is read once, first thing in the statement behind.

    Args:
        module: changed in place.
    """
    nodes = [*ast.walk(module)]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    if REFLECTION & {*names} or any(_tells_lifetimes(node) for node in nodes):
        return module
    known = _known(nodes)
    for statements in _blocks(nodes):
        for place in reversed(range(len(statements) - 1)):
            statement, after = statements[place : place + 2]
            name = _only_target(statement)
            if name is None or names.count(name) != 2 or name in known.staying:
                continue
            assert isinstance(statement, ast.Assign)
            read = _first_read(_first_of(after), name, known) if _may_move(statement.value) else None
            if read is not None and (_is_lasting(statement.value) or not _is_read_of(after, read)):
                _Put(read, statement.value).visit(after)
                del statements[place]
    return module


class _Known(NamedTuple):
    """What a module does with names.

    Attributes:
        staying: names that are known by more than their name.
        changing: names that may be bound anew while a value waits.
        modules: names that are modules, and nothing else anywhere.
        attributes: names of attributes that are set.
    """

    staying: set[str]
    changing: set[str]
    modules: set[str]
    attributes: set[str]


def _known(nodes: Sequence[ast.AST]) -> _Known:
    declared = [node for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal))]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    # Who consumes a generator sets its names, and those that a comprehension within sets outside of itself.
    walrus = [node.target for node in nodes if isinstance(node, ast.NamedExpr)]
    paused = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _pauses(node)]
    imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    # What `sys` has is there to be changed.
    modules = {alias.asname or alias.name for alias in imports if alias.name != "sys"}
    stored = {node.attr for node in nodes if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)}
    return _Known(
        staying=_set_within(declared) | _set_within(classes),
        changing=_set_within([*declared, *walrus, *paused]),
        modules=modules - {name for node in nodes if not isinstance(node, ast.alias) for name in set_by(node)},
        attributes=stored,
    )


def _set_within(nodes: Sequence[ast.AST]) -> set[str]:
    return {name for node in nodes for it in ast.walk(node) for name in set_by(it)}


def _pauses(node: ast.AST) -> bool:
    return any(isinstance(it, PAUSES) for it in ast.walk(node))


def _tells_lifetimes(node: ast.AST) -> bool:
    """Whether something happens when an object goes."""
    if isinstance(node, (ast.Try, ast.TryStar, ast.With, ast.AsyncWith)):
        return _pauses(node)
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in LIFETIMES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in LIFETIMES
    return isinstance(node, ast.FunctionDef) and node.name == "__del__"


def _blocks(nodes: Sequence[ast.AST]) -> Iterator[list[ast.stmt]]:
    for node in nodes:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _only_target(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None


def _may_move(value: ast.expr) -> bool:
    """Whether a value sets no name, and lets nothing else go on meanwhile."""
    return not _pauses(value) and not any(isinstance(node, ast.NamedExpr) for node in ast.walk(value))


def _is_lasting(value: ast.expr) -> bool:
    """Whether what is read of a value stays good when the value has gone."""
    return _is_of_lasting(value) or not any(isinstance(node, ast.Call) for node in ast.walk(value))


def _is_of_lasting(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[0] in LASTING


def _is_read_of(statement: ast.stmt, read: ast.AST) -> bool:
    """Whether an attribute is read of a name, or of what is made of it by something else than a lasting module."""
    attributes = [node for node in ast.walk(statement) if isinstance(node, ast.Attribute)]
    owners = [node.value for node in attributes if not _is_of_lasting(node.value)]
    return any(read is node for owner in owners for node in ast.walk(owner))


def _first_of(statement: ast.stmt) -> ast.AST | None:
    """What a statement computes first."""
    if isinstance(statement, ast.For):
        return statement.iter
    if isinstance(statement, ast.If):
        return statement.test
    return statement.value if isinstance(statement, (ast.Expr, ast.Assign, ast.Return)) else None


def _first_read(node: ast.AST | None, name: str, known: _Known) -> ast.AST | None:
    """Where a name is read, if nothing is computed before but names, constants and what a module has."""
    if isinstance(node, ast.Name):
        return node if node.id == name else None
    if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        return _first_read(node.generators[0].iter, name, known)
    if not isinstance(node, IN_ORDER):
        return None
    if isinstance(node, ast.Dict) and not all(isinstance(key, ast.Constant) for key in node.keys):
        return None  # keys and values are computed by turns, and what is after ** is read at once
    for part in ast.iter_child_nodes(node):
        if any(isinstance(it, ast.Name) and it.id == name for it in ast.walk(part)):
            return _first_read(part, name, known)
        if not _is_plain(part, known):
            return None
    return None


def _is_plain(node: ast.AST, known: _Known) -> bool:
    """Whether something is the same a little earlier and later."""
    while isinstance(node, ast.Attribute):
        if node.attr in known.attributes:
            return False
        node = node.value
        if isinstance(node, ast.Name) and node.id not in known.modules:
            return False
    if isinstance(node, ast.Name):
        return node.id not in known.changing
    return isinstance(node, (ast.Constant, ast.expr_context, ast.operator))


class _Put(ast.NodeTransformer):
    """One node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
