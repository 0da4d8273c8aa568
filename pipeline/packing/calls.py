"""Puts the body of a function that is called once in the place of the call: a program needs no `def` for it.

Strict on purpose: what could mean something else in another place stays where it is.
"""

from __future__ import annotations

import ast
import builtins
import copy
import symtable
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.packing.names import Rename, set_by

Value = ast.expr | None
Values = Mapping[str, ast.expr]
"""Arguments that may stand wherever their parameters do, by the parameter."""
SCOPES = (ast.FunctionDef, ast.Lambda)
LOOPS = (ast.For, ast.While)
LATER = (*SCOPES, ast.GeneratorExp)
"""What may read a name when it has another value by then."""
READ = (ast.Name, ast.Constant, ast.Attribute, ast.UnaryOp)
"""What may be computed a little earlier or later."""
STRANGE = (
    *(ast.ClassDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.Try, ast.With, ast.Match),
    *(ast.Global, ast.Delete, ast.AnnAssign, ast.Yield, ast.YieldFrom, ast.Await),
)
"""What a function that goes has none of: it binds names in other ways than an assignment, or ends elsewhere."""
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
CLOSED = (ast.ClassDef, ast.AsyncFunctionDef, ast.JoinedStr, ast.Try)
"""Where no function goes."""


def without_single_calls(module: ast.Module, names: Collection[str]) -> ast.Module:
    """The module without functions that are called once, where that is a statement, or one expression for another.

    Such statements are `f(x)`, `name = f(x)`, `names, of, more = f(x)` and `return f(x)`. Functions stay that have
    decorators, that yield, or that return from elsewhere than their end.

    Args:
        module: changed in place.
        names: of the functions that may go.
    """
    read = [node.id for node in ast.walk(module) if isinstance(node, ast.Name)]
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name in names]
    if any(_put_in_place(module, function) for function in functions if read.count(function.name) == 1):
        return without_single_calls(module, names)
    return _without_second_names(module)


def _without_second_names(module: ast.Module) -> ast.Module:
    """The module without assignments of a name to another, where both are set once, at its top."""
    stores = _stores(module)
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
            (target, *others), value = statement.targets, statement.value
            if others or not isinstance(target, ast.Name) or {target.id, value.id} & {*dir(builtins)}:
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
    if site is None or not _is_plain(function, site.call) or not _has_plain_names(module, function):
        return False
    values = _values(module, function, site.call)
    if _is_captured(module, function, site, values):
        return False
    targets = getattr(site.statement, "targets", [])
    is_whole = isinstance(site.statement, (ast.Expr, ast.Assign, ast.Return)) and len(targets) < 2
    if not (is_whole and _put_statements(function, site, values)) and not _put_expression(function, site, values):
        return False
    module.body.remove(function)
    return True


def _only_call(module: ast.Module, function: ast.FunctionDef) -> _Site | None:
    if _stores(module).count(function.name) != 1:
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
    returns = [node for node in _of_scope(function) if isinstance(node, ast.Return)]
    return (
        not function.decorator_list
        and not call.keywords
        and len(call.args) == len(_parameters(function)) == len(list(ast.iter_child_nodes(function.args)))
        and not any(isinstance(node, STRANGE) for node in ast.walk(function))
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
        and not any(isinstance(node, ast.NamedExpr) for argument in call.args for node in ast.walk(argument))
        and (not returns or returns == [function.body[-1]])
    )


def _has_plain_names(module: ast.Module, function: ast.FunctionDef) -> bool:
    """Whether each name is one thing within a function, and is known by nothing but its name."""
    (table,) = symtable.symtable(ast.unparse(ast.fix_missing_locations(function)), "function", "exec").get_children()
    tables = [table]
    for inner in tables:
        tables += inner.get_children()
    elsewhere = {symbol.get_name() for inner in tables for symbol in inner.get_symbols() if symbol.is_global()}
    keywords = {node.arg for node in ast.walk(module) if isinstance(node, ast.keyword)}
    nested = [node for node in ast.walk(function) if isinstance(node, SCOPES) and node is not function]
    deep = [it for node in nested for it in ast.walk(node) if isinstance(it, SCOPES) and it is not node]
    return (
        not elsewhere & (_bound(function) | {*_parameters(function)})
        and not keywords & {name for node in nested for name in _set_in(node.args)}
        and not any(isinstance(it, ast.Nonlocal) for node in deep for it in ast.walk(node))
        and not {"locals", "globals", "vars", "eval", "exec"} & _read_in(module)
        and not any(f"_of_{function.name}" in name for name in _stores(module))
    )


def _is_captured(module: ast.Module, function: ast.FunctionDef, site: _Site, values: Values) -> bool:
    """Whether a name would mean something else where the call is, or by the time that it is read."""
    inner = {*ast.walk(function)}
    outside = [node for node in {*ast.walk(module)} - inner if isinstance(node, (*SCOPES, ast.comprehension))]
    hidden = {name for node in outside for name in _set_in(node) - ({node.name} if node in module.body else set())}
    free = _read_in(function) - _set_in(function)
    if hidden & free or any(isinstance(owner, CLOSED) for owner in site.owners):
        return True
    later = {name for node in inner - {function} if isinstance(node, LATER) for name in _read_in(node) - _set_in(node)}
    own = later & (_bound(function) | {*_parameters(function)} - {*values})
    if (site.loops and own) or (later and any(isinstance(owner, COMPREHENSIONS) for owner in site.owners)):
        return True
    given = [value for name, value in values.items() if name in later]
    stores = _around(site)
    loops = [node for owner in site.owners for node in _of_scope(owner) if isinstance(node, LOOPS)]
    again = {name for name in stores if stores.count(name) > 1}.union(*map(_set_in, loops))
    return any(again & _read_in(value) for value in given)


def _put_statements(function: ast.FunctionDef, site: _Site, values: Values) -> bool:
    """Puts what a call does, as statements, in the place of the statement that it is."""
    statement, owner = site.owners[:2]
    assert isinstance(statement, ast.stmt)
    for _, statements in ast.iter_fields(owner):
        if isinstance(statements, list) and statement in statements:
            place = statements.index(statement)
            statements[place : place + 1] = _body(function, site, statement, values) or [ast.Pass()]
            return True
    return False


def _body(function: ast.FunctionDef, site: _Site, statement: ast.stmt, values: Values) -> list[ast.stmt]:
    own = _bound(function) | {*_parameters(function)} - {*values}
    names = {name: f"{name}_of_{function.name}" for name in own}
    last = function.body[-1]
    returned = last.value if isinstance(last, ast.Return) else None
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    around = _around(site)
    new = set() if site.loops else {name for name in around if around.count(name) == 1}
    new -= (_read_in(function) - own) | {*dir(builtins)}
    for local, name in _pairs(returned, target):
        # What is returned has the name that it is given from the beginning.
        if isinstance(local, ast.Name) and local.id in own and isinstance(name, ast.Name) and name.id in new:
            names[local.id] = name.id
    given = zip(_parameters(function), site.call.args, strict=True)
    first = [_assign(ast.Name(names[name], ast.Store()), value) for name, value in given if name not in values]
    replace = _Replace(names, values, is_global=site.is_global)
    body = [*first, *(replace.visit(it) for it in function.body if it is not last or returned is None)]
    end: ast.expr = ast.Constant(None) if returned is None else replace.visit(returned)
    if isinstance(last, ast.Return) and returned is None:
        body.pop()
    if isinstance(statement, ast.Return):
        return [*body, ast.Return(end)]
    if target is None:
        return body if isinstance(end, ast.Constant) else [*body, ast.Expr(end)]
    return [*body, *_assigned(target, end)]


def _pairs(value: Value, target: Value) -> list[tuple[ast.expr, ast.expr]]:
    """Values and the targets they are assigned to: one pair, or one for each name of a tuple that is given a tuple."""
    if value is None or target is None:
        return []
    if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
        is_plain = all(isinstance(name, ast.Name) for name in target.elts)
        if is_plain and not any(isinstance(part, ast.Starred) for part in value.elts):
            return [*zip(value.elts, target.elts, strict=True)]
    return [(value, target)]


def _assigned(target: ast.expr, value: ast.expr) -> list[ast.stmt]:
    """An assignment without what is there already; of a tuple in parts, where none of them needs a name set by then."""
    wanted = [pair for pair in _pairs(value, target) if ast.unparse(pair[0]) != ast.unparse(pair[1])]
    done: set[str] = set()
    for part, name in wanted:
        if done & _read_in(part) or (done and any(isinstance(node, ast.Call) for node in ast.walk(part))):
            return [_assign(target, value)]
        done |= {node.id for node in ast.walk(name) if isinstance(node, ast.Name)}
    return [_assign(name, part) for part, name in wanted]


def _assign(target: ast.expr, value: ast.expr) -> ast.Assign:
    return ast.Assign([target], value)


def _put_expression(function: ast.FunctionDef, site: _Site, values: Values) -> bool:
    """Puts a function that is one expression in the place of a call within another one."""
    (only, *others) = function.body
    given = dict(zip(_parameters(function), site.call.args, strict=True))
    moved = [name for name in given if name not in values]
    if others or not isinstance(only, ast.Return) or only.value is None:
        return False
    if len(moved) > 1 or any(isinstance(node, ast.NamedExpr) for node in ast.walk(only.value)):
        return False
    if moved and not (_is_read_once(only.value, moved[0]) and _is_read_first(only.value, moved[0])):
        return False
    names = {name: f"{name}_of_{function.name}" for name in _bound(function)}
    expression = _Replace(names, given, is_global=False).visit(only.value)
    _Put(site.call, expression).visit(site.owners[-1])
    return True


def _is_read_once(expression: ast.expr, name: str) -> bool:
    """Whether a value could as well be computed where it is read."""
    later = [node for node in ast.walk(expression) if isinstance(node, (*LATER, ast.comprehension))]
    reads = [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)].count(name)
    return reads == 1 and not any(name in _read_in(node) for node in later)


def _is_read_first(expression: ast.AST, name: str) -> bool:
    """Whether a name is read whatever else is, and before anything but names, constants and their attributes."""
    if isinstance(expression, ast.Name):
        return expression.id == name
    if not isinstance(expression, (ast.BinOp, ast.Call, ast.Attribute, ast.Tuple)):
        return False
    for part in ast.iter_child_nodes(expression):
        if name in _read_in(part):
            return _is_read_first(part, name)
        if any(isinstance(node, ast.expr) and not isinstance(node, READ) for node in ast.walk(part)):
            return False
    return False


def _values(module: ast.Module, function: ast.FunctionDef, call: ast.Call) -> Values:
    given = zip(_parameters(function), call.args, strict=True)
    return {name: value for name, value in given if _is_pure(module, value) and name not in _bound(function)}


def _is_pure(module: ast.Module, value: ast.expr) -> bool:
    """Whether a value may be written as often as it is read, and later.

    That is a name or a constant, an attribute that nothing sets, or a place of what a module has (`sys.argv[1]`).
    """
    if isinstance(value, ast.Subscript):
        imported = [alias.name for node in module.body if isinstance(node, ast.Import) for alias in node.names]
        return isinstance(value.slice, ast.Constant) and ast.unparse(value.value).split(".")[0] in imported
    if isinstance(value, ast.Attribute):
        attributes = [node for node in ast.walk(module) if isinstance(node, ast.Attribute) and node.attr == value.attr]
        return isinstance(value.value, ast.Name) and all(isinstance(node.ctx, ast.Load) for node in attributes)
    changing = {name for node in ast.walk(module) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id not in changing)


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


def _around(site: _Site) -> list[str]:
    """Every name that is set in the scopes that a call is in, as often as it is."""
    scopes = [owner for owner in site.owners if isinstance(owner, (*SCOPES, ast.Module))]
    return [name for scope in scopes for node in _of_scope(scope) for name in set_by(node)]


def _stores(module: ast.Module) -> list[str]:
    """Every name that is set somewhere, as often as it is."""
    return [name for node in ast.walk(module) for name in set_by(node)]


def _of_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """All that is in a scope, what is in scopes within left out."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, (*SCOPES, *COMPREHENSIONS)):
            yield from _of_scope(node)


def _read_in(node: ast.AST) -> set[str]:
    return {it.id for it in ast.walk(node) if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Load)}


class _Replace(Rename):
    """Other names for those that a function sets, and values for its parameters."""

    def __init__(self, names: Mapping[str, str], values: Mapping[str, ast.expr], *, is_global: bool) -> None:
        super().__init__(names)
        self.values, self.is_global = values, is_global

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.values:
            return copy.deepcopy(self.values[node.id])
        return super().visit_Name(node)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.Nonlocal | ast.Global:
        renamed = super().visit_Nonlocal(node)
        return ast.Global(renamed.names) if self.is_global else renamed


class _Put(ast.NodeTransformer):
    """One node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
