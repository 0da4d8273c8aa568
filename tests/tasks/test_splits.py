"""Orders and parts that depend on the items alone; clean texts."""

from __future__ import annotations

from pipeline.protocols import Example
from pipeline.tasks.splits import carve, fair_order, normalised, one_line, without_empty_lines, without_shared


def test_order_does_not_depend_on_the_input_order() -> None:
    items = [str(number) for number in range(500)]
    assert fair_order(items, str, "a") == fair_order(reversed(items), str, "a")


def test_other_salt_other_order() -> None:
    items = [str(number) for number in range(500)]
    assert fair_order(items, str, "a") != fair_order(items, str, "b")


def test_a_new_item_moves_no_other() -> None:
    items = [str(number) for number in range(500)]
    longer = fair_order([*items, "new"], str, "a")
    assert [item for item in longer if item != "new"] == fair_order(items, str, "a")


def test_order_is_as_good_as_shuffled() -> None:
    """The mean of the first 100 of 1,000 numbers lies within 4 standard errors of the mean of all."""
    first = fair_order(range(1000), str, "a")[:100]
    assert abs(sum(first) / 100 - 499.5) < 4 * 288.7 / 10


def test_normalised() -> None:
    assert normalised("  L'Été, n°1_b! ") == "l été n 1 b"
    assert normalised("Don't") == normalised("DON’T ")


def variants(groups: int, each: int) -> list[Example]:
    return [
        Example(input={"text": f"{group}-{number}"}, target="x") for group in range(groups) for number in range(each)
    ]


def source(example: Example) -> str:
    return example.input["text"].split("-")[0]


def test_carving_takes_whole_groups() -> None:
    items = variants(groups=100, each=3)
    taken, rest = carve(items, source, "a", 10)
    assert len(taken) == 12 and len(taken) + len(rest) == 300
    assert not {source(item) for item in taken} & {source(item) for item in rest}
    assert carve(reversed(items), source, "a", 10) == (taken, rest)
    assert {source(item) for item in carve(items, source, "b", 10)[0]} != {source(item) for item in taken}


def test_carving_leaves_four_fifths_of_the_groups() -> None:
    taken, rest = carve(variants(groups=20, each=2), source, "a", 1000)
    assert (len(taken), len(rest)) == (8, 32)


def test_without_shared() -> None:
    items = variants(groups=4, each=2)
    kept = without_shared(items, source, [items[0], items[7]])
    assert [source(item) for item in kept] == ["1", "1", "2", "2"]


def test_clean_texts() -> None:
    assert without_empty_lines(" a \n \n\n b\nc\n") == "a\nb\nc"
    assert one_line(" a\n b\u2028c ") == "a b c"
