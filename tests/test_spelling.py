"""Other spellings of a minified source do what it did."""

from __future__ import annotations

import contextlib
import io

import pytest

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
