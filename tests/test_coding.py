"""Arithmetic coding and the coding of integers: exact, and as short as they can be."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pipeline.coding.arithmetic import Interval, encode, ideal_bits
from pipeline.coding.numbers import LARGEST, encode_halves, encode_numbers, nearest_scale, step_for_bits, to_integers
from pipeline.decoder_parts import halves
from pipeline.decoder_parts.arithmetic import reader, weights
from pipeline.decoder_parts.numbers import add_numbers
from pipeline.errors import InfeasibleError


@pytest.mark.parametrize("length", [0, 1, 2, 50, 20_000])
def test_symbols_come_back_and_cost_less_than_a_byte_over_the_ideal(length: int) -> None:
    torch.manual_seed(length)
    tables = [weights(torch.randn(300) * 4) for _ in range(5)]
    symbols = [random.Random(place).randrange(300) for place in range(length)]
    intervals = []
    for place, symbol in enumerate(symbols):
        table = tables[place % 5]
        low = int(table[symbol - 1]) if symbol else 0
        intervals.append(Interval(low, int(table[symbol]), int(table[-1])))
    payload = encode(intervals)
    read = reader(payload)
    assert [read(tables[place % 5]) for place in range(length)] == symbols
    assert 0 <= 8 * len(payload) - ideal_bits(intervals) < 9


def test_code_is_frozen() -> None:
    intervals = [Interval(place * 7 % 90, place * 7 % 90 + 5, 100) for place in range(12)]
    assert encode(intervals).hex() == "00fe27fedd8917"


def test_a_payload_that_runs_out_ends_the_program_with_65() -> None:
    read = reader(b"\x12\x34")
    with pytest.raises(SystemExit) as end:
        for _ in range(10):
            read(torch.arange(1, 65537))
    assert end.value.code == 65


def test_integers_come_back_in_place() -> None:
    generator = np.random.default_rng(0)
    kinds = [(shape, scale) for shape in ((1, 64), (64, 1)) for scale in (1, 9)]
    updates = [generator.laplace(0, scale, shape).astype(np.float32) for shape, scale in kinds]
    integers = to_integers(updates, 0.5)
    tensors = [torch.zeros(update.shape) for update in updates]
    payload = encode_numbers(integers)
    add_numbers(payload, tensors, 0.5)
    for tensor, numbers in zip(tensors, integers, strict=True):
        assert torch.equal(tensor, torch.tensor(numbers) * 0.5)
    assert len(payload) % 4 == 0
    assert max(abs(numbers).max() for numbers in integers) <= LARGEST


def test_coded_integers_are_near_their_entropy() -> None:
    generator = np.random.default_rng(1)
    numbers = [np.rint(generator.laplace(0, 0.4, 20_000)).astype(np.int32)] * 10
    _, counts = np.unique(numbers[0], return_counts=True)
    entropy_bits = -(counts * np.log2(counts / counts.sum())).sum() * 10
    assert 8 * len(encode_numbers(numbers)) < 1.1 * entropy_bits


def test_the_nearest_scale_is_below_the_step_where_most_is_rounded_away() -> None:
    updates = [np.random.default_rng(1).laplace(size=(50, 40)).astype(np.float32)]
    integers = to_integers(updates, 3.0)
    scale = nearest_scale(updates, integers)

    def error(scale: float) -> float:
        return float(np.square(integers[0] * scale - updates[0]).sum())

    assert 2 < scale < 3
    assert error(scale) < min(error(scale * 1.05), error(scale / 1.05), error(3.0))
    assert nearest_scale(updates, [np.zeros_like(integers[0])]) == 1


def test_step_for_bits_beats_its_neighbours() -> None:
    updates = [np.random.default_rng(2).normal(size=5000).astype(np.float32)]

    def error(step: float) -> float:
        return float(np.square(to_integers(updates, step, 3)[0] * step - updates[0]).sum())

    step = step_for_bits(updates, 3)
    assert error(step) < error(step * 1.3)
    assert error(step) < error(step / 1.3)


def test_halves_are_added_as_they_are() -> None:
    generator = np.random.default_rng(1)
    updates = [generator.normal(0, 1e-2, shape).astype(np.float32) for shape in ((3, 4), (5,))]
    payload = encode_halves(updates)
    assert len(payload) == 2 * (12 + 5)
    tensors = [torch.ones(3, 4), torch.ones(5)]
    halves.add_numbers(payload, tensors, 1.0)
    for tensor, update in zip(tensors, updates, strict=True):
        torch.testing.assert_close(tensor, 1 + torch.tensor(update), rtol=0, atol=2e-5)
        assert not torch.equal(tensor, torch.ones_like(tensor))


def test_what_half_precision_does_not_hold_is_refused() -> None:
    updates = [np.zeros(3, np.float32), np.array([1.0, -7e4], np.float32)]
    with pytest.raises(InfeasibleError, match="an update of 70,000 is beyond 65,504"):
        encode_halves(updates)
    assert len(encode_halves([np.array([-65504.0], np.float32)])) == 2
