"""Another spelling of a minified source that deflate makes shorter: the same syntax tree but for the names.

A minifier counts characters, and to it all letters are alike. To deflate a letter that the source is full of is
cheap, a new one takes a place in its table, and some make a repeated text longer.
"""

from __future__ import annotations

import ast
import builtins
import functools
import io
import random
import string
import tokenize
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.packing.names import Rename, passes_by_name, set_by

REFLECTION = {"locals", "globals", "vars", "eval", "exec"}
STARTS = 4
"""How often the letters are searched for, each time in another order."""
LONG_TEXT = 1000
"""Characters; a longer text has no say in the letters: a search takes as long as what it compresses, for some bytes."""
OLDEST = (3, 11)
"""The version of Python that must understand a program; later ones allow `except A, B:` without parentheses."""
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
"""What texts are in; from Python 3.12 on an f-string is many tokens."""


def respell(source: str) -> str:
    """The source without parentheses that change nothing, and with cheap letters for its names."""
    return _with_cheap_names(_without_parentheses(source))


def _without_parentheses(source: str) -> str:
    """The source without those pairs of parentheses that its syntax tree is the same without."""
    tree = ast.dump(ast.parse(source))
    open_places: list[int] = []
    for token, first, _ in [*_tokens(source)]:
        if token.type != tokenize.OP:
            continue
        if token.string == "(":
            open_places.append(first)
        elif token.string == ")":
            start = open_places.pop()
            # A blank holds the place of each, so that the places of other tokens stay.
            bare = f"{source[:start]} {source[start + 1 : first]} {source[first + 1 :]}"
            if _dump(bare) == tree:
                source = bare
    return _without_blanks(source, tree)


def _without_blanks(source: str, tree: str) -> str:
    """The source without those blanks between tokens that its syntax tree is the same without."""
    strings = [range(first, last) for token, first, last in _tokens(source) if token.type in STRINGS]
    within = {place for string in strings for place in string}
    for place in reversed(range(1, len(source) - 1)):
        if source[place] == " " and place not in within and not _runs_together(source[place - 1], source[place + 1]):
            shorter = source[:place] + source[place + 1 :]
            source = shorter if _dump(shorter) == tree else source
    return source


def _runs_together(before: str, after: str) -> bool:
    """Whether two letters are one word without the blank between, or a number and a word, of which Python warns."""
    return (before.isalnum() or before in "._") and (after.isalnum() or after == "_")


def _dump(source: str) -> str:
    """The syntax tree, empty where there is none: not in every version of Python that programs are for."""
    try:
        return ast.dump(ast.parse(source, feature_version=OLDEST))
    except SyntaxError:
        return ""


def _with_cheap_names(source: str) -> str:
    """The source with its one-letter names exchanged for other letters, one to one, where that makes it shorter.

    Numbers and long texts have no say in it, so that programs of one decoder with others have the same names.
    """
    tree = ast.parse(source)
    own = _own_names(tree)
    pieces = _cut(source, own, is_plain=True)
    spelled = _cheapest(tuple(pieces), frozenset(_all_names(tree) - {*pieces[1::2]}))
    renamed = _join(_cut(source, own, is_plain=False), spelled)
    # A name that is known in another way as well, in an f-string or of an exception, is not renamed everywhere.
    return renamed if _dump(renamed) == ast.dump(_Rename(spelled).visit(tree)) else source


def _own_names(tree: ast.Module) -> set[str]:
    """Names of one letter of ASCII that the source defines, and that nothing knows but by these names."""
    bound, known, parameters = set(), {*dir(builtins)}, set()
    is_by_name = False
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.Name) and node.id in REFLECTION):
            return set()
        if isinstance(node, ast.alias) and node.name == "*":
            return set()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            parameters.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.keyword):
            known.add(str(node.arg))
        elif isinstance(node, ast.alias):
            known.add(node.asname or node.name)
        is_by_name |= passes_by_name(node)
    known |= parameters if is_by_name else set()
    return {name for name in (bound | parameters) - known if len(name) == 1 and name.isascii()}


def _all_names(tree: ast.Module) -> set[str]:
    """Every name that is read or set, in whatever way."""
    nodes = [*ast.walk(tree)]
    return {node.id for node in nodes if isinstance(node, ast.Name)}.union(*map(set_by, nodes))


def _tokens(source: str) -> Iterator[tuple[tokenize.TokenInfo, int, int]]:
    """Tokens, and where they begin and end in the source."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first, last = (starts[row - 1] + column for row, column in (token.start, token.end))
        yield token, first, last


def _cut(source: str, names: set[str], *, is_plain: bool) -> list[str]:
    """The source in pieces of which every second one is one of `names`.

    Where it is plain all numbers are 1, and no text is long.
    """
    pieces, end, before = [""], 0, ""
    for token, first, last in _tokens(source):
        if token.type == tokenize.NAME and token.string in names and before != ".":
            pieces[-1] += source[end:first]
            pieces += [token.string, ""]
            end = last
        elif is_plain and (token.type == tokenize.NUMBER or last - first > LONG_TEXT):
            pieces[-1] += f"{source[end:first]}1"
            end = last
        before = token.string
    pieces[-1] += source[end:]
    return pieces


def _join(pieces: Sequence[str], spelled: Mapping[str, str]) -> str:
    return "".join(spelled[piece] if place % 2 else piece for place, piece in enumerate(pieces))


@functools.lru_cache(maxsize=256)
def _cheapest(pieces: tuple[str, ...], taken: frozenset[str]) -> Mapping[str, str]:
    """A letter for each name: every letter is tried for every name, until nothing is shorter for another one."""
    letters = sorted({*string.ascii_letters} - taken)
    names = sorted({*pieces[1::2]})
    length_with = functools.cache(_Spelled(pieces).length)
    found = []
    for start in range(STARTS):
        order = random.Random(start)
        best = {name: name for name in names}
        length, before = length_with(tuple(best.values())), 0
        while length != before:
            before = length
            for name in order.sample(names, len(names)):
                for letter in order.sample(letters, len(letters)):
                    # A name that has the letter takes the one that gets free.
                    other = {it: best[name] if held == letter else held for it, held in best.items()} | {name: letter}
                    if (tried := length_with(tuple(other.values()))) < length:
                        best, length = other, tried
        found.append((length, best))
    return min(found, key=lambda it: it[0])[1]


class _Spelled:
    """A source whose names are letters of one byte, to be exchanged where they stand."""

    def __init__(self, pieces: Sequence[str]) -> None:
        """Take the pieces of which every second one is a name."""
        ends = np.cumsum([len(piece.encode()) for piece in pieces])
        self.source = np.frombuffer("".join(pieces).encode(), np.uint8)
        self.places = [
            np.array([end - 1 for piece, end in zip(pieces[1::2], ends[1::2], strict=True) if piece == name])
            for name in sorted({*pieces[1::2]})
        ]

    def length(self, letters: Sequence[str]) -> int:
        """Bytes that deflate needs, nearly; quickly. The letters are those of the names in their order."""
        import deflate

        spelled = self.source.copy()
        for places, letter in zip(self.places, letters, strict=True):
            spelled[places] = ord(letter)
        return len(deflate.deflate_compress(spelled.tobytes(), 12))


class _Rename(Rename):
    """Other names for those that a whole source sets."""

    def visit_Global(self, node: ast.Global) -> ast.AST:
        """Names of the module."""
        return ast.Global([self.names.get(name, name) for name in node.names])
