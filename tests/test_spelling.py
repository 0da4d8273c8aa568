"""Other spellings of a minified source do what it did."""

from __future__ import annotations

import contextlib
import io
import string
import warnings
from collections.abc import Collection, Sequence

import pytest

from pipeline.packing import spelling
from pipeline.packing.packer import minify
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
    "print((1)if(2)else 3,(1).real,(4)or 5)",
    # Names that are set, but never read: a letter of theirs is no letter for another name.
    "A=1\ntry:1/0\nexcept ZeroDivisionError as t:0\nprint(A,'tt t t te tt')",
    "A=1\ndef B():\n\timport string as t;return A\nprint(B(),'tt t t te tt')",
    "A=1\nmatch[1,2]:\n\tcase[1,*t]:print(A,'tt t t te tt')\nprint(A)",
    "A=1\nmatch{1:2}:\n\tcase{1:2,**t}:print(A,'tt t t te tt')\nprint(A)",
    "A=1\ndef B(t=2):return A\nprint(B(t=3),'tt t t te tt')",
    "A=1\nprint(t:=A,dict(t=2),'tt t t te tt')",
    "A=1\ndef t():0\nprint(A,dict(t=2),'tt t t te tt')",
    "A=1\nfrom math import*\nprint(A,'ee e e te ee')",
    # Arguments that are passed by name.
    "def A(B,C):return B-C\nD=A(**{'B':1,'C':3})\nprint(D)",
    "def A(B,**C):return B,C\nprint(A(1,t=2),'tt t t te tt')",
)


@pytest.mark.parametrize("source", MINIFIED)
def test_another_spelling_means_the_same(source: str) -> None:
    spelled = respell(source)
    assert len(spelled) <= len(source)
    assert printed(spelled) == printed(source)


@pytest.mark.parametrize("source", MINIFIED)
def test_every_letter_that_may_be_chosen_is_free(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(pieces: Sequence[str], taken: Collection[str]) -> dict[str, str]:
        free = [letter for letter in dict.fromkeys("te" + string.ascii_letters) if letter not in taken]
        return dict(zip(sorted({*pieces[1::2]}), free, strict=False))

    monkeypatch.setattr(spelling, "_cheapest", chosen)
    assert printed(respell(source)) == printed(source)


def test_a_number_before_a_word_keeps_its_blank_whatever_warnings_do() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert respell("print((1)if(2)else 3)") == "print(1 if 2 else 3)"


def test_the_minifier_keeps_what_a_comprehension_sets_outside_of_itself() -> None:
    source = "last = 0\nrows = [last := row for row in (7, 8)]\nprint(last, rows)"
    assert printed(minify(source)) == printed(source) == "8 [7, 8]\n"


def test_parentheses_and_rare_letters_go() -> None:
    spelled = respell("for(Q,Z)in enumerate((3,4)):print('tent teen net entente',Q,Z,Q*(Z+Q))")
    assert "for(" not in spelled and "((3,4))" in spelled
    assert not {"Q", "Z"} & {*spelled}


def test_numbers_do_not_change_the_letters() -> None:
    source = "A,B=100,3\nfor C in range(A):B+=C*A\nprint(B)"
    assert respell(source).replace("100", "7") == respell(source.replace("100", "7"))


def test_texts_change_the_letters_unless_they_are_long() -> None:
    """A search for every text that a budget is tried with would take most of the time of packing."""

    def spelled(text: str) -> str:
        return respell(f"A,B='{text}',3\nfor C in A:B+=ord(C)*2\nprint(B)").replace(text, "")

    assert spelled("tent teen net entente") != spelled("gigs wigwag sagging swig")
    assert spelled("tent teen net entente" * 50) == spelled("gigs wigwag sagging swig" * 50)
