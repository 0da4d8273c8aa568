"""Orders that depend on the items alone."""

from __future__ import annotations

from pipeline.tasks.splits import fair_order, normalised


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
