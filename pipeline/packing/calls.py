"""Puts the body of a function that is called once in the place of the call: a program needs no `def` for it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Value = ast.expr | None
SCOPES = (ast.FunctionDef, ast.Lambda)
LOOPS = (ast.For, ast.While)
LATER = (*SCOPES, ast.GeneratorExp)
"""What may read a name when it has another value by then."""


def without_single_calls(module: ast.Module) -> ast.Module:
    """The module without functions that are called once, where that is a statement, or one expression for another.

    Such statements are `f(x)`, `name = f(x)`, `names, of, more = f(x)` and `return f(x)`. Functions stay that have
    decorators, that yield, or that return from elsewhere than their end.
    """
    while any(_put_in_place(module, node) for node in module.body if isinstance(node, ast.FunctionDef)):
        pass
    return _without_second_names(module)


def _without_second_names(module: ast.Module) -> ast.Module:
    """The module without assignments of a name to another, where both are set once, at its top."""
    stores = _stores(module)
    parameters = {node.arg for node in ast.walk(module) if isinstance(node, ast.arg)}
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
            (target, *others), value = statement.targets, statement.value
            if others or not isinstance(target, ast.Name) or {target.id, value.id} & parameters:
                continue
            if stores.count(target.id) == stores.count(value.id) == 1:
                module.body.remove(statement)
                renamed = _Replace({target.id: value.id}, {}, is_global=True).visit(module)
                assert isinstance(renamed, ast.Module)
                return _without_second_names(renamed)
    return module


class _Site(NamedTuple):
    """Where a function is called.

    Attributes:
        call: the call.
        owners: what it is in, from the inside to the module.
    """

    call: ast.Call
    owners: list[ast.AST]

    @property
    def statement(self) -> ast.AST:
        """What the call is directly in."""
        return self.owners[0]

    @property
    def is_global(self) -> bool:
        """Whether its names are those of the module."""
        return not any(isinstance(owner, SCOPES) for owner in self.owners)

    @property
    def loops(self) -> Sequence[ast.AST]:
        """The loops it is in, up to the function."""
        found = []
        for owner in self.owners:
            if isinstance(owner, SCOPES):
                break
            if isinstance(owner, LOOPS):
                found.append(owner)
        return found


def _put_in_place(module: ast.Module, function: ast.FunctionDef) -> bool:
    """Whether the one call of a function could be replaced, which then is done."""
    site = _only_call(module, function)
    if site is None or not _is_plain(function, site.call) or _is_captured(module, function, site):
        return False
    is_whole = isinstance(site.statement, (ast.Expr, ast.Assign, ast.Return))
    if not (is_whole and _put_statements(function, site)) and not _put_expression(module, function, site):
        return False
    module.body.remove(function)
    return True


def _only_call(module: ast.Module, function: ast.FunctionDef) -> _Site | None:
    if sum(isinstance(node, ast.Name) and node.id == function.name for node in ast.walk(module)) != 1:
        return None
    parents = {child: node for node in ast.walk(module) for child in ast.iter_child_nodes(node)}
    for node in parents:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.name:
            owners = [parents[node]]
            while owners[-1] is not module:
                owners.append(parents[owners[-1]])
            return _Site(node, owners)
    return None


def _is_plain(function: ast.FunctionDef, call: ast.Call) -> bool:
    """Whether arguments are passed by place, and nothing happens at the call but the body, which ends at its end."""
    inner = [node for statement in function.body for node in _of_this_function(statement)]
    returns = [node for node in inner if isinstance(node, ast.Return)]
    return (
        not function.decorator_list
        and not call.keywords
        and len(call.args) == len(_parameters(function)) == len(list(ast.iter_child_nodes(function.args)))
        and not any(isinstance(node, (ast.Yield, ast.YieldFrom, ast.Global)) for node in inner)
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
        and (not returns or returns == [function.body[-1]])
    )


def _is_captured(module: ast.Module, function: ast.FunctionDef, site: _Site) -> bool:
    """Whether a name would mean something else where the call is, or by the time that it is read."""
    inner = {*ast.walk(function)}
    outside = [
        node for node in ast.walk(module) if isinstance(node, (*SCOPES, ast.comprehension)) and node not in inner
    ]
    hidden = {name for node in outside for name in _set_in(node)} - _function_names(module)
    if hidden & (_read_in(function) - _set_in(function)):
        return True
    later = {name for node in inner - {function} if isinstance(node, LATER) for name in _read_in(node) - _set_in(node)}
    own = later & (_bound(function) | {*_parameters(function)} - {*_values(function, site.call)})
    if site.loops and own:
        return True
    given = [value for name, value in _values(function, site.call).items() if name in later]
    stores = _stores(module)
    again = {name for name in stores if stores.count(name) > 1} | {
        name for loop in site.loops for name in _set_in(loop)
    }
    return any(again & _read_in(value) for value in given)


def _function_names(module: ast.Module) -> set[str]:
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


def _put_statements(function: ast.FunctionDef, site: _Site) -> bool:
    """Puts what a call does, as statements, in the place of the statement that it is."""
    statement, owner = site.owners[:2]
    assert isinstance(statement, ast.stmt)
    for _, statements in ast.iter_fields(owner):
        if isinstance(statements, list) and statement in statements:
            place = statements.index(statement)
            statements[place : place + 1] = _body(function, site.call, statement, is_global=site.is_global)
            return True
    return False


def _body(function: ast.FunctionDef, call: ast.Call, statement: ast.stmt, *, is_global: bool) -> list[ast.stmt]:
    values = _values(function, call)
    own = _bound(function) | {*_parameters(function)} - {*values}
    names = {name: f"{name}_of_{function.name}" for name in own}
    last = function.body[-1]
    returned = last.value if isinstance(last, ast.Return) else None
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    for local, name in _pairs(returned, target):
        # What is returned has the name that it is given from the beginning.
        if (
            isinstance(local, ast.Name)
            and local.id in own
            and isinstance(name, ast.Name)
            and name.id not in _read_in(call)
        ):
            names[local.id] = name.id
    given = zip(_parameters(function), call.args, strict=True)
    first = [_assign(ast.Name(names[name], ast.Store()), value) for name, value in given if name not in values]
    replace = _Replace(names, values, is_global=is_global)
    body = [*first, *(replace.visit(it) for it in function.body if it is not last or returned is None)]
    if returned is None:
        return [it for it in body if not isinstance(it, ast.Return)]
    end: ast.expr = replace.visit(returned)
    if isinstance(statement, ast.Return):
        return [*body, ast.Return(end)]
    return [*body, ast.Expr(end)] if target is None else [*body, *_assigned(target, end)]


def _pairs(value: Value, target: Value) -> list[tuple[ast.expr, ast.expr]]:
    """Values and the targets they are assigned to: one pair, or one for each element of two tuples of one length."""
    if value is None or target is None:
        return []
    if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
        return [*zip(value.elts, target.elts, strict=True)]
    return [(value, target)]


def _assigned(target: ast.expr, value: ast.expr) -> list[ast.stmt]:
    """An assignment without what is there already; of a tuple in parts, where none of them needs a name set by then."""
    wanted = [pair for pair in _pairs(value, target) if ast.unparse(pair[0]) != ast.unparse(pair[1])]
    done: set[str] = set()
    for part, name in wanted:
        if done & _read_in(part):
            return [_assign(target, value)]
        done |= {node.id for node in ast.walk(name) if isinstance(node, ast.Name)}
    return [_assign(name, part) for part, name in wanted]


def _assign(target: ast.expr, value: ast.expr) -> ast.Assign:
    return ast.Assign([target], value)


def _put_expression(module: ast.Module, function: ast.FunctionDef, site: _Site) -> bool:
    """Puts a function that is one expression in the place of a call within another one."""
    (only, *others) = function.body
    values = dict(zip(_parameters(function), site.call.args, strict=True))
    moved = [name for name in values if name not in _values(function, site.call)]
    if others or not isinstance(only, ast.Return) or only.value is None:
        return False
    if moved and (len(moved) > 1 or not _is_read_once(only.value, moved[0])):
        return False
    names = {name: f"{name}_of_{function.name}" for name in _bound(function)}
    expression = _Replace(names, values, is_global=False).visit(only.value)
    _Put(site.call, expression).visit(module)
    return True


def _is_read_once(expression: ast.expr, name: str) -> bool:
    """Whether a value could as well be computed where it is read."""
    later = [node for node in ast.walk(expression) if isinstance(node, (*LATER, ast.comprehension))]
    reads = [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)].count(name)
    return reads == 1 and not any(name in _read_in(node) for node in later)


def _values(function: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr]:
    """Arguments that may stand wherever their parameters do, by the parameter."""
    given = zip(_parameters(function), call.args, strict=True)
    return {name: value for name, value in given if _is_pure(value) and name not in _bound(function)}


def _is_pure(value: ast.expr) -> bool:
    """Whether a value may be written as often as it is read, and later: a name or a constant, or a place of one."""
    if isinstance(value, ast.Attribute):
        return _is_pure(value.value)
    if isinstance(value, ast.Subscript):
        return _is_pure(value.value) and isinstance(value.slice, ast.Constant)
    return isinstance(value, (ast.Name, ast.Constant))


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def _bound(function: ast.FunctionDef) -> set[str]:
    """Names that the body of a function sets, in functions within it, too."""
    return {name for statement in function.body for name in _set_in(statement)}


def _set_in(node: ast.AST) -> set[str]:
    inner = [*ast.walk(node)]
    names = {it.id for it in inner if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Store)}
    names |= {it.name for it in inner if isinstance(it, ast.FunctionDef)}
    return names | {it.arg for it in inner if isinstance(it, ast.arg)}


def _stores(module: ast.Module) -> list[str]:
    """Every name that is set somewhere, as often as it is."""
    return [node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _read_in(node: ast.AST) -> set[str]:
    return {it.id for it in ast.walk(node) if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Load)}


def _of_this_function(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, those of functions within left out."""
    yield node
    if not isinstance(node, SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _of_this_function(child)


class _Replace(ast.NodeTransformer):
    """Other names for those that a function sets, and values for its parameters."""

    def __init__(self, names: Mapping[str, str], values: Mapping[str, ast.expr], *, is_global: bool) -> None:
        self.names, self.values, self.is_global = names, values, is_global

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.values:
            return copy.deepcopy(self.values[node.id])
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        names = [self.names.get(name, name) for name in node.names]
        return ast.Global(names) if self.is_global else ast.Nonlocal(names)


class _Put(ast.NodeTransformer):
    """One node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
