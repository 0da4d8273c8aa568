"""Links a decoder with the parts that it reaches into one source, and puts the constants of a cell in their place."""

from __future__ import annotations

import ast
import functools
import string
import symtable
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from pipeline.packing.calls import without_single_calls
from pipeline.packing.names import passes_by_name, set_by

PARTS = "pipeline.decoder_parts"

Constant = str | int | float | bytes


def link(decoder: str, constants: Mapping[str, Constant], parts: Mapping[str, str] | None = None) -> str:
    """One source that imports only the reference machine.

    Args:
        decoder: dotted name of the module that holds the readable decoder.
        constants: value for each name in capitals, of the decoder and of the parts that it reaches.
        parts: function -> the part it is taken from, in the place of the one that the decoder imports it from.

    Raises:
        ValueError: a constant is missing or unknown, a part is not a plain function, or two things have one name.
    """
    linked = _Linked(parts or {})
    main = _resolve(_parse(decoder).body, linked)
    if twice := linked.functions.keys() & (_global_names(main) | _global_names([*linked.imports.values()])):
        raise ValueError(f"{decoder}: {', '.join(sorted(twice))} is the name of a part's function, too; take another")
    if linked.placeholders != constants.keys():
        raise ValueError(f"{decoder} takes {sorted(linked.placeholders)}, not {sorted(constants)}")
    module = _Inline(constants).visit(ast.Module([*linked.imports.values(), *linked.functions.values(), *main], []))
    module = without_single_calls(_specialise(module), linked.functions)
    short = _Negative().visit(_Shorten(module).visit(module))
    return ast.unparse(ast.fix_missing_locations(short))


def placeholders(decoder: str) -> set[str]:
    """Names in capitals that a decoder gives a value, for the packer to put another in its place."""
    return {name for statement in _parse(decoder).body if (name := _constant_name(statement))}


@dataclass
class _Linked:
    """What a decoder has been found to need.

    Attributes:
        parts: function -> the part it is taken from, where it is not the one that is imported.
        imports: of the reference machine, by their text.
        functions: of parts, by their names.
        owners: function -> the part it has been taken from.
        placeholders: names in capitals, of the decoder and of parts.
    """

    parts: Mapping[str, str]
    imports: dict[str, ast.stmt] = field(default_factory=dict)
    functions: dict[str, ast.stmt] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    placeholders: set[str] = field(default_factory=set)


def _resolve(statements: list[ast.stmt], linked: _Linked) -> list[ast.stmt]:
    """Takes imports and placeholders out of `statements`; what is imported of parts becomes functions."""
    rest = []
    for statement in statements:
        names = statement.names if isinstance(statement, (ast.Import, ast.ImportFrom)) else []
        module = getattr(statement, "module", None)
        if any(f"{module or alias.name}.".startswith(f"{PARTS}.") for alias in names):
            if module is None or any(alias.asname for alias in names):
                raise ValueError(
                    f"`{ast.unparse(statement)}`: parts are taken by `from MODULE import NAME`, as they are named"
                )
            for alias in names:
                _reach(module, alias.name, linked)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            linked.imports[ast.unparse(statement)] = statement
        elif name := _constant_name(statement):
            linked.placeholders.add(name)
        else:
            rest.append(statement)
    return rest


def _reach(part: str, name: str, linked: _Linked) -> None:
    """Adds the function `name` of `part` and everything of that part and others that it uses."""
    part = linked.parts.get(name, part)
    if linked.owners.setdefault(name, part) != part:
        raise ValueError(f"{linked.owners[name]} and {part} have a function {name} each; one needs another name")
    if name in linked.functions:
        return
    owners = {bound: statement for statement in _parse(part).body for bound in _bound_names(statement)}
    function = owners.get(name)
    if not isinstance(function, ast.FunctionDef):
        raise ValueError(f"{part}.{name} is not a function of a decoder part")
    plain = _WithoutAnnotations().visit(function)
    used = {node.id for node in ast.walk(plain) if isinstance(node, ast.Name)}
    for owner in sorted(used & owners.keys() - {name}):
        statement = owners[owner]
        if isinstance(statement, ast.FunctionDef):
            _reach(part, owner, linked)
        else:
            _resolve([_only(statement, owner)], linked)
    linked.functions[name] = plain


def _bound_names(statement: ast.stmt) -> list[str]:
    if constant := _constant_name(statement):
        return [constant]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.split(".")[0] for alias in statement.names]
    return [statement.name] if isinstance(statement, ast.FunctionDef) else []


def _only(statement: ast.stmt, name: str) -> ast.stmt:
    """The import statement, for this one name."""
    if isinstance(statement, ast.ImportFrom):
        return ast.ImportFrom(statement.module, [a for a in statement.names if name in (a.asname, a.name)], 0)
    return statement


def _global_names(statements: Sequence[ast.stmt]) -> set[str]:
    """Names that a module of these statements sets, those within its functions left out."""
    source = ast.unparse(ast.Module([*statements], []))
    table = symtable.symtable(source, "decoder", "exec")
    return {it.get_name() for it in table.get_symbols() if it.is_assigned() or it.is_imported()}


def _constant_name(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        return name if name.isupper() else None
    return None


@functools.cache
def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        import_module(module)
        raise ValueError(f"{module} has no source")
    return Path(spec.origin).read_text()


def _parse(module: str) -> ast.Module:
    return ast.parse(_source(module))


class _WithoutAnnotations(ast.NodeTransformer):
    """Drops annotations and docstrings, so that what only they name is not linked."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            argument.annotation = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        assert node.value is not None
        return ast.Assign([node.target], node.value, lineno=node.lineno)


class _Inline(ast.NodeTransformer):
    """Replaces names by constants, and leaves out slices that then begin at 0."""

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(self.constants[node.id]) if node.id in self.constants else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        is_placed = isinstance(node.slice, ast.Slice) and isinstance(node.slice.lower, ast.Name)
        self.generic_visit(node)
        return node.value if is_placed and ast.unparse(node.slice) == "0:" else node


class _Negative(ast.NodeTransformer):
    """Writes numbers below 0 with a minus of their own, for the square of the constant -3 is not `-3 ** 2`."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, (int, float)) and repr(value).startswith("-"):
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        return node


def _specialise(module: ast.Module) -> ast.Module:
    """Moves arguments that are the same constant in every call of a function into its body."""
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    names = [node.id for node in ast.walk(module) if isinstance(node, ast.Name)]
    calls: dict[str, list[ast.Call]] = {function.name: [] for function in functions}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
            calls[node.func.id].append(node)
    is_changed = False
    for function in functions:
        own = calls[function.name]
        if own and names.count(function.name) == len(own) and _is_called_by_place(function, own):
            is_changed |= _take_constants(function, own)
    return _specialise(module) if is_changed else module


def _take_constants(function: ast.FunctionDef, calls: Sequence[ast.Call]) -> bool:
    """Whether an argument could be moved."""
    kept = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    kept |= {name for inner in function.body for node in ast.walk(inner) for name in _set_otherwise(node)}
    constants: dict[str, Constant] = {}
    for place in reversed(range(len(function.args.args))):
        values = [call.args[place] for call in calls]
        is_same = all(isinstance(value, ast.Constant) for value in values) and len(set(map(ast.dump, values))) == 1
        if is_same and function.args.args[place].arg not in kept:
            constants[function.args.args.pop(place).arg] = ast.literal_eval(values[0])
            for call in calls:
                del call.args[place]
    inline = _Inline(constants)
    function.body = [inline.visit(statement) for statement in function.body]
    return bool(constants)


def _set_otherwise(node: ast.AST) -> list[str]:
    """Names that a node sets, but not by being one."""
    return [] if isinstance(node, ast.Name) else set_by(node)


def _is_called_by_place(function: ast.FunctionDef, calls: Sequence[ast.Call]) -> bool:
    """Whether each call gives one argument for each parameter, in their order."""
    return _has_plain_parameters(function) and all(
        not call.keywords
        and len(call.args) == len(function.args.args)
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
        for call in calls
    )


def _has_plain_parameters(function: ast.FunctionDef | ast.Lambda) -> bool:
    return len([*ast.iter_child_nodes(function.args)]) == len(function.args.args)


class _Shorten(ast.NodeTransformer):
    """Gives parameters one-letter names where calls pass them by place, which the minifier cannot know."""

    def __init__(self, module: ast.Module) -> None:
        nodes = [*ast.walk(module)]
        names = {node.id for node in nodes if isinstance(node, ast.Name)}.union(*map(set_by, nodes))
        self.letters = [letter for letter in string.ascii_lowercase if letter not in names]
        # Parameters that are known by their names elsewhere, or set in another way than by an assignment.
        self.kept = {node.arg for node in nodes if isinstance(node, ast.keyword)}
        arguments = [node for node in nodes if isinstance(node, ast.arg)]
        inner = {*nodes}.difference(module.body, arguments)
        self.kept |= {name for node in inner for name in _set_otherwise(node)}
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        self.kept |= {name for node in classes for it in ast.walk(node) for name in set_by(it)}
        if any(passes_by_name(node) for node in nodes):
            self.kept |= {node.arg for node in arguments}
        self.scopes: list[dict[str, str]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._rename(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._rename(node)

    def _rename(self, node: ast.FunctionDef | ast.Lambda) -> ast.AST:
        depth = sum(len(scope) for scope in self.scopes)
        names = [argument.arg for argument in node.args.args]
        short = self.letters[depth : depth + len(names)]
        is_renamed = _has_plain_parameters(node) and len(short) == len(names) and not self.kept & {*names}
        self.scopes.append(dict(zip(names, short if is_renamed else names, strict=True)))
        for argument in node.args.args:
            argument.arg = self.scopes[-1][argument.arg]
        self.generic_visit(node)
        self.scopes.pop()
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        for scope in reversed(self.scopes):
            if node.id in scope:
                return ast.Name(scope[node.id], node.ctx)
        return node
