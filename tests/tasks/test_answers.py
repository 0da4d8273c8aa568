"""The value that a worked answer comes to."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from pipeline.tasks.answers import exact_value, final_answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48/2 = 24\n48+24 = 72\n#### 72", "72"),
        ("#### 1,080", "1080"),
        ("#### $-5", "-5"),
        ("####18.", "18"),
        ("#### 2.50", "2.5"),
        ("#### 72\n\nQuestion: and 5 more?\nAnswer: #### 77", "72"),
        ("The answer is 15 before tax.\n#### 120", "120"),
        ("The answer is: 42", "42"),
        ("The answer is $1,080.", "1080"),
        ("The answer is -$5", "-5"),
        ("the answer is **18** eggs", "18"),
        ("The answer is\n42", "42"),
        ("The answer is \\(5\\)", "5"),
        ("The answer is 15 + 3 = 18", "18"),
        ("ANSWER IS 7, of 9", "7"),
        ("The answer is not 5, it is 6", "6"),
        ("So she has 3 * 4 = 12 eggs.", "12"),
        ("It costs $18.00.", "18"),
        ("-3", "-3"),
        ("72", "72"),
        ("I do not know", None),
        ("####", None),
        ("", None),
        ("#### −5", "-5"),
        ("#### – 5", "-5"),
        ("#### - 5", "-5"),
        ("The answer is negative 5.", "-5"),
        ("The answer is minus $1,200.50", "-1200.5"),
        ("The answer is -0.5", "-0.5"),
        ("#### 1{,}234", "1234"),
        ("The answer is 1\\,234", "1234"),
        ("The answer is 1\u202f234\u202f567", "1234567"),
        ("#### 1'234", "1234"),
        ("The answer is $\\boxed{72}$. I hope it is correct.", "72"),
        ("Thus \\boxed{\\$1,080}.", "1080"),
        ("\\boxed{x = 5}", "5"),
        ("\\boxed{\\frac{3}{4}}", "3/4"),
        ("\\boxed{-\\dfrac{3}{4}}", "-3/4"),
        ("\\boxed{72\\text{ apples}} and 3 more", "72"),
        ("\\boxed{25\\%}", "25"),
        ("\\boxed{\\text{72}}", "72"),
        ("\\boxed{\\frac{3}{4}} of 12", "3/4"),
        ("The answer is 3/4.", "3/4"),
        ("#### 1/2", "1/2"),
        ("The answer is 2 1/2 hours", "5/2"),
        ("The answer is 2½ hours", "5/2"),
        ("#### ½", "1/2"),
        ("The answer is -1/2", "-1/2"),
        ("The answer is 15/3 = 5", "5"),
        ("The answer is 12*6=72 apples", "72"),
        ("The answer is 72 because 6 * 11 = 66 and 66 + 6 = 72, not 73", "72"),
        ("The answer is 72. She sells 16 eggs per day.", "72"),
        ("The answer is the number of eggs, 18. She sells 16.", "18"),
        ("Answer: 72", "72"),
        ("Final Answer: **72**", "72"),
        ("**Answer:** 72 apples in 3 bags", "72"),
        ("Answer = 72, since 3 bags", "72"),
        ("The answer would be 72 for 5", "72"),
        ("The final answer equals 72, of 90", "72"),
        ("the correct answer to the question is 72 of 100", "72"),
        ("#### The answer is 72 of 100", "72"),
        ("#### 72 apples and 5 pears", "72"),
        ("#### **72**", "72"),
        ("#### $72/day", "72"),
        ("#### `72`", "72"),
        ("The answer is approximately 72 miles, 3 less", "72"),
        ("The answer is about $72 for 3", "72"),
        ("The answer is 72km in 3h", "72"),
        ("The answer is 25%, of 300", "25"),
        ("The answer is 25 %", "25"),
        ("The answer is USD 72 for 3", "72"),
        ("The answer is 72 USD", "72"),
        ("The answer is .5 of 3", "0.5"),
        ("The answer is 5.", "5"),
        ("The answer is 5.0.", "5"),
        ("The answer is +5 for 3", "5"),
        ("She wonders what the answer is. 5 + 3 = 8", "8"),
        ("10 - 3 = 7", "7"),
        ("5-3", "3"),
        ("on 1/2/2020 she had 7", "7"),
        ("She made 3/4 of 12 = 9 cakes", "9"),
        ("The answer is 72\n#### 73", "73"),
        ("#### 72 #### 73", "72"),
        ("####\n72", "72"),
        ("The answer is: $\\$1{,}080$ total for 3", "1080"),
        ("#### $1,234,567.89", "1234567.89"),
        ("The answer is 1,2345", "1"),
        ("The answer is (72), not 71", "72"),
        ("Answer is [72]. 5", "72"),
        ("the answer is x = 72 and y = 3", "72"),
        ("72 is the answer", "72"),
        ("7 * 8 = 56.\nThe answer is 56 dollars.\n\nQuestion: Tom has 5.\nAnswer: The answer is 9", "56"),
        ("The answer is zero", None),
        ("#### 007", "7"),
        ("#### 0", "0"),
        ("The answer is 0.", "0"),
        ("answer is 5:30", "5"),
        ("The total is 1,080 dollars", "1080"),
        ("$5-$3 = $2", "2"),
        ("He is 5'6", "6"),
        ("The answer is €7", "7"),
        ("The answer is 7€ of 9", "7"),
        ("２０", "20"),
        ("5² = 25", "25"),
        ("He lost 5 (-5)", "-5"),
        (r"\boxed{6 \times 7 = 42}", "42"),
        (r"The answer is $6 \cdot 7 = 42$ of 50", "42"),
        ("The answer is 6*7=42 dollars, which 3 people share", "42"),
        ("The answer is 6 * 7 = $42", "42"),
        ("The answer is 6 * 7 = no more than 42", "42"),
        (r"#### 84 \div 2 = 42", "42"),
        (r"\boxed{\frac12}", "1/2"),
        (r"\boxed{-\frac{7}2}", "-7/2"),
        (r"\boxed{2\frac1{10}}", "21/10"),
        (r"\boxed{\frac{10}{4}}", "5/2"),
        (r"\boxed{\frac{-1}{2}}", "-1/2"),
        (r"\boxed{\dfrac{ - 7 }{2}}", "-7/2"),
        ("#### 2 x 9 = 18", "18"),
        ("#### 2 x 9 = 18 eggs for 3", "18"),
        ("The answer is 18 x-rays for 3", "18"),
        ("#### 2^3 = 8", "8"),
        ("#### 2**3 = 8", "8"),
        ("The answer is **18** 3-packs", "18"),
        ("#### 1 000", "1000"),
        ("#### -12 345 678.5 €", "-12345678.5"),
        ("#### 5 100-packs", "5"),
        ("#### 12 365 days", "12"),
        ("#### 12 3456", "12"),
        ("The answer is 12 000.", "12000"),
        ("The answer is 25 x 4 feet", "25"),
        ("The answer is 10^5", "10"),
        (r"\boxed{2^{3}=8}", "8"),
        ("The answer is 5 - 3", "5"),
        ("#### 1e5", "100000"),
        ("The answer is 2.5E-2 of 3", "0.025"),
        ("#### 5 eggs", "5"),
        ("#### 5e", "5"),
    ],
)
def test_final_answer(text: str, value: str | None) -> None:
    assert final_answer(text) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", "72"),
        ("-3", "-3"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\dfrac{3}{4}", "-3/4"),
        (r"\frac34", "3/4"),
        (r"3\times4", None),
        ("1,234.5", "1234.5"),
        (r"\$18", "18"),
        ("0.50.", "1/2"),
        ("2 3/4", "11/4"),
        ("72 apples", None),
        (r"\sqrt{2}", None),
        (r"2\pi", None),
        ("(1, 2)", None),
        ("x^2", None),
        ("3/0", None),
        ("A", None),
        ("", None),
    ],
)
def test_exact_value(text: str, value: str | None) -> None:
    assert exact_value(text) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    "part",
    ["(", "1", "1,", "answer to ", "answer is ", "1/", "####", r"\boxed{", "1 ", "- ", "=5", "answer is $", "9" * 40],
)
def test_long_texts_take_no_time(part: str) -> None:
    """A program that repeats itself to the end must not stop the scorer."""
    start = time.perf_counter()
    final_answer(part * (20_000 // len(part)))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("start", ["The answer to", "The answer is", "#### 1", "1 1/"])
def test_long_blanks_take_no_time(start: str) -> None:
    moment = time.perf_counter()
    for blank in (" ", "\n", " \n", "\t"):
        final_answer(start + blank * 10_000 + "x")
    assert time.perf_counter() - moment < 5
