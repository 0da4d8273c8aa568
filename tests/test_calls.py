"""Functions that are called once go in the place of the call, and the program does what it did."""

from __future__ import annotations

import ast
import contextlib
import io

import pytest

from pipeline.packing.calls import without_single_calls

GONE = {
    "a statement": "def f(a, b):\n    for i in range(a):\n        print(i, b)\nf(2 + 1, 'x')\n",
    "a value": "def f(a):\n    n = 0\n    for i in a:\n        n += i\n    return n\nx = f([1, 2])\nprint(x)\n",
    "several values": "def f(a):\n    b = a + 1\n    return b, [b, a]\nx, y = f(3)\nprint(x, y)\n",
    "values that need each other": "def f(a, b):\n    return b, a\nx, y = 1, 2\nx, y = f(x, y)\nprint(x, y)\n",
    "one of a list": "def f(a):\n    return [a]\n(x,) = f(5)\nprint(x)\n",
    "a parameter that is set": "def f(a):\n    a = a + 1\n    return a\nb = 1\nc = f(b)\nprint(b, c)\n",
    "the name it returns to": "def f(a):\n    x = [a]\n    x.append(a)\n    return x\nx = f(1)\nprint(x)\n",
    "the name it is given": "def f(a):\n    new = a + [1]\n    return new, a\nx = [0]\nx, y = f(x)\nprint(x, y)\n",
    "names of its own": "def f(a):\n    x = a + 1\n    print(x)\nx = 1\nf(x)\nprint(x)\n",
    "an expression": "def f(a):\n    return a * a\nprint([f(b) + 1 for b in range(3)])\n",
    "a value read once": "def f(a, b):\n    return a + b\nprint(str(f(len('abc'), 2)))\n",
    "a second name": "def f(a):\n    return a, [a]\nx = [1]\ny, z = f(x)\ny.append(2)\nprint(x, y, z)\n",
    "a parameter of the second name": "def f(a):\n    return a, 0\nx = 1\ny, z = f(x)\nprint((lambda y: y + x)(5))\n",
    "a second name that changes": "def f(a):\n    return a, [a]\nx = 1\ny, z = f(x)\nx = 2\nprint(x, y, z)\n",
    "within another": "def g(a):\n    return [a]\ndef f(a):\n    b = g(a)\n    return b\nprint(f(1), f(2))\n",
    "one in another": "def g(a):\n    c = a\n    return c\ndef f():\n    b = g(1)\n    return b\nx = f()\nprint(x)\n",
    "a function with a state": (
        "def counter(start):\n    n = start * 2\n    def step():\n        nonlocal n\n        n += 1\n"
        "        return n\n    return step\nstep = counter(4)\nprint(step(), step())\n"
    ),
    "a function that is called at once": (
        "def f(call, a):\n    return [call(lambda b: b + a) for _ in range(2)]\n"
        "n = 3\nx = f(lambda g: g(1), n)\nprint(x)\n"
    ),
    "in a loop": "def f(a):\n    b = [i for i in range(a)]\n    print(b)\nfor k in range(3):\n    f(k)\n",
    "nothing to return": "def f(a):\n    a.append(1)\n    return\nx = []\nf(x)\nprint(x)\n",
}

STAYS = {
    "called twice": "def f(a):\n    return a\nprint(f(1), f(2))\n",
    "passed on": "def f(a):\n    return a\nprint([*map(f, [1, 2])])\n",
    "decorated": "import functools\n@functools.cache\ndef f(a):\n    print(a)\n    return a\nprint(f(1))\n",
    "yields": "def f(a):\n    yield a\nx = f(1)\nprint([*x])\n",
    "returns early": "def f(a):\n    if a:\n        return 1\n    return 2\nx = f(0)\nprint(x)\n",
    "arguments by name": "def f(a, b):\n    print(a, b)\nf(b=1, a=2)\n",
    "a default": "def f(a, b=2):\n    print(a, b)\nf(1)\n",
    "any number": "def f(*a):\n    print(a)\nf(1, 2)\n",
    "starred": "def f(a, b):\n    print(a, b)\nf(*[1, 2])\n",
    "kept for later in a loop": (
        "calls = []\ndef f(a, b):\n    calls.append(lambda: a + b)\nfor k in range(3):\n    f(k, k * k)\n"
        "print([call() for call in calls])\n"
    ),
    "kept for later, of the loop": (
        "calls = []\ndef f(a):\n    calls.append(lambda: a)\nfor k in range(3):\n    f(k)\n"
        "print([call() for call in calls])\n"
    ),
    "kept for later, of what changes": (
        "calls = []\ndef f(a):\n    calls.append(lambda: a)\nk = 1\nf(k)\nk = 2\nprint([call() for call in calls])\n"
    ),
    "a name that is hidden": "def g():\n    return n\nn = 1\ndef f(n):\n    return n + g()\nprint(f(5), f(6))\n",
    "a name that is hidden in a list": "def g(a):\n    return a + n\nn = 1\nprint([g(n) for n in range(2)])\n",
    "a value read twice": "def f(a):\n    return a + a\nprint(str(f(input())))\n",
    "calls itself": "def f(a):\n    return f(a - 1) if a else 0\n",
}


KEEPS_ITS_MEANING = {
    "nothing returned from within": (
        "def log(x):\n    print('big', x)\ndef g(x):\n    if x > 1:\n        return log(x)\n    print('small', x)\n"
        "g(1)\ng(2)\n"
    ),
    "nothing returned to a name": "def f(x):\n    print(x)\nr = f(1)\nprint(r)\n",
    "an empty branch": "def f(x):\n    return\nfor k in range(2):\n    if k:\n        f(k)\nprint('end')\n",
    "two targets": "def f(n):\n    return [n]\na = b = f(3)\nprint(a, b)\n",
    "the target is read within": (
        "best = 0\ndef f(rows):\n    top = max(rows)\n    if top < best:\n        top = best\n    return top\n"
        "for rows in [[1, 9], [3]]:\n    best = f(rows)\nprint(best)\n"
    ),
    "the target is a builtin": "def f(a):\n    n = sum(a) + sum(a)\n    return n\nsum = f([1, 2])\nprint(sum)\n",
    "one target twice": "def f(a):\n    b = a + 1\n    return a, b, b - a\n_, _, c = f(1)\nprint(c)\n",
    "a target after an error": (
        "def f(text):\n    rows = []\n    for word in text.split():\n        rows.append(int(word))\n    return rows\n"
        "found = None\ntry:\n    found = f('1 2 x')\nexcept ValueError:\n    pass\nprint(found)\n"
    ),
    "a place that changes within": (
        "def f(text, item):\n    item['text'] = text[:2]\n    return text\nitem = {'text': 'hello'}\n"
        "whole = f(item['text'], item)\nprint(whole, item)\n"
    ),
    "closures of a list": "def f(k):\n    return lambda: k\nprint([call() for call in [f(k) for k in range(3)]])\n",
    "order": "rows = iter(range(3))\ndef f(a):\n    return [next(rows), a]\nprint(str(f(next(rows))))\n",
    "a value that is not read": "i = iter([1])\ndef f(k, a):\n    return a if k else 0\nprint(f(0, next(i)), [*i])\n",
    "a function that is hidden": (
        "def score(row):\n    return len(row)\ndef best(rows):\n    return max(rows, key=score)\ndef main(rows):\n"
        "    score = 0\n    print(best(rows), score)\nmain(['a', 'bbb'])\nmain(['a', 'bbb', score([1]) * 'z'])\n"
    ),
    "a class within": (
        "def main():\n    class Box:\n        def __init__(self, x):\n            print(x)\n    Box(3)\nmain()\n"
    ),
    "names of arguments within": (
        "def f(rows):\n    def g(x, by):\n        return x * by\n    print([g(row, by=2) for row in rows])\nf([1, 2])\n"
    ),
    "a deleted parameter": "def f(a):\n    print(len(a))\n    del a\na = [1]\nf(a)\nprint(a)\n",
    "an import within": "def f(a):\n    from math import sqrt as s\n    print(s(a))\ns = 'text'\nf(4)\nprint(s)\n",
    "an error that is named": (
        "def f(text):\n    try:\n        int(text)\n    except ValueError as e:\n        print('no', text)\n"
        "for e in 'ab':\n    f(e)\n    print(e)\n"
    ),
    "within a text": "def f(rows):\n    return '-'.join(rows)\nprint(f'<{f([str(1), str(2)])}>')\n",
    "two functions of one name": "def f(x):\n    return 'slow'\ndef f(x):\n    return x * 2\nprint(f(1))\n",
    "a name of a list, too": "row = 't'\ndef f(rows):\n    print(row, [row for row in rows])\nf([1, 2])\n",
    "names of a scope": "def f(name):\n    print('{name}'.format(**locals()))\nf('x')\n",
}


def printed(module: ast.Module, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(ast.fix_missing_locations(module), "program", "exec"), {})
    return out.getvalue()


def without_functions(source: str) -> ast.Module:
    module = ast.parse(source)
    return without_single_calls(module, [node.name for node in module.body if isinstance(node, ast.FunctionDef)])


@pytest.mark.parametrize("source", GONE.values(), ids=GONE)
def test_the_program_does_what_it_did_without_the_function(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = printed(ast.parse(source), monkeypatch)
    module = without_functions(source)
    assert printed(module, monkeypatch) == wanted
    stays = {"f"} if "f(1), f(2)" in source else {"step"}
    assert {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)} <= stays


@pytest.mark.parametrize("source", STAYS.values(), ids=STAYS)
def test_a_function_stays_that_could_not_go(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = printed(ast.parse(source), monkeypatch)
    module = without_functions(source)
    assert printed(module, monkeypatch) == wanted
    assert ast.dump(module) == ast.dump(ast.parse(source))


@pytest.mark.parametrize("source", KEEPS_ITS_MEANING.values(), ids=KEEPS_ITS_MEANING)
def test_what_may_stay_keeps_its_meaning(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(without_functions(source), monkeypatch) == printed(ast.parse(source), monkeypatch)
