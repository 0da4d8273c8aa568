"""Other spellings of a minified source do what it did."""

from __future__ import annotations

import ast
import contextlib
import io

import pytest

from pipeline.packing.reads import without_single_reads
from pipeline.packing.spelling import respell


def printed(source: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(source, {"__name__": "program"})
    return out.getvalue()


MINIFIED = (
    "for(A,B)in enumerate((3,4)):print((A,B),'(A)',\"é\")",
    "import string as S\ndef A(B,*C,key=2):\n\tfor D in C:B+=D\n\treturn B*key\nprint(A(1,2,3,key=4),S.digits)",
    "def A():\n\tB=1\n\tdef C():\n\t\tnonlocal B;B+=1;return B\n\treturn C\nC=A()\nprint(C(),C())",
    "A=1\ndef B():\n\tglobal A;A+=1\nB()\nprint(A,(A+1)*2,-(-A))",
    "print([(lambda A:A+B)(1)for B in range(3)],(lambda:(0 if 1 else 2))())",
    "class A:b=1\nB=A()\nprint(B.b)",
    "A=2\nprint(f'{A}',sorted(globals())[:1])",
    "try:1/0\nexcept ZeroDivisionError as A:print(A)\nA=1\nprint(A)",
    "if(A:=5)>3:print(A)\nprint(A if(B:=1)else 0,1 if(not B)else 2)",
)


@pytest.mark.parametrize("source", MINIFIED)
def test_another_spelling_means_the_same(source: str) -> None:
    spelled = respell(source)
    assert len(spelled) <= len(source)
    assert printed(spelled) == printed(source)


def test_parentheses_and_rare_letters_go() -> None:
    spelled = respell("for(Q,Z)in enumerate((3,4)):print('tent teen net entente',Q,Z,Q*(Z+Q))")
    assert "for(" not in spelled and "((3,4))" in spelled
    assert not {"Q", "Z"} & {*spelled}


def test_numbers_do_not_change_the_letters() -> None:
    source = "A,B=100,3\nfor C in range(A):B+=C*A\nprint(B)"
    assert respell(source).replace("100", "7") == respell(source.replace("100", "7"))


GONE = (
    "x = [3, 1]\ny = sorted(x)\nprint(y)",
    "x = [3, 1]\nfor y in x:\n    print(y)",
    "import json\nx = 'a'\nprint(json.dumps({'a': x}))",
    "x = [3, 1]\nprint([y + 1 for y in x])",
    "def f(a):\n    x = a + 1\n    return [x]\nprint(f(1), f(2))",
)
STAYS = (
    "x = [3, 1]\nprint(x, x)",
    "x = [3, 1]\nprint(print(0), x)",
    "a = 1\ndef f():\n    global a\n    a += 1\n    return a\nx = f()\nprint(a, x)",
    "a = []\nx = a.append(1)\nprint(a[-1], x)",
    "x = print(1)\ny = 2\nprint(x, y, y)",
    "x = [3]\nprint((lambda: x)())",
    "x = [3]\nprint([x for y in range(2)])",
    "x = print(1)\nwhile x:\n    pass",
    "x = input if 0 else print\nfalse = 0\nfalse and x(1)\nprint(false)",
)


@pytest.mark.parametrize("source", [*GONE, *STAYS])
def test_a_value_read_once_goes_where_it_is_read_first(source: str) -> None:
    shorter = ast.unparse(ast.fix_missing_locations(without_single_reads(ast.parse(source))))
    assert printed(shorter) == printed(source)
    assert ("x =" in shorter) == (source in STAYS)
