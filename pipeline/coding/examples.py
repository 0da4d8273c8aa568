"""Coding worked examples under a model, in the decoder's own loop."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from pipeline.coding.arithmetic import Interval, encode
from pipeline.decoder_parts.arithmetic import weights
from pipeline.decoder_parts.stream import extend
from pipeline.errors import InfeasibleError

SLICE_TOKENS = 1024
"""Tokens that `token_bits` has logits of at a time."""


class Coded(NamedTuple):
    """A coded stream.

    Attributes:
        intervals: one for each token, in the order of coding.
        nll_bits: sum of -log2 p under the model: the ideal length.
    """

    intervals: list[Interval]
    nll_bits: float

    def __add__(self, other: object) -> Coded:
        """This stream, then the other one."""
        assert isinstance(other, Coded)
        return Coded(self.intervals + other.intervals, self.nll_bits + other.nll_bits)

    def payload(self, rows: object) -> bytes:
        """Bytes of the stream, closed with 16 bits that let a program see that it decoded `rows`."""
        checksum = zlib.crc32(str(rows).encode()) % 65536
        return encode([*self.intervals, Interval(checksum, checksum + 1, 65536)])


def heeds_mask(model: Any) -> bool:
    """Whether the model's attention heeds the mask of `decoder_parts.stream.extend`."""
    return bool(model.config._attn_implementation != "eager")


def check_attention(model: Any) -> None:
    """Raises InfeasibleError where a model cannot code: see `heeds_mask`."""
    if not heeds_mask(model):
        raise InfeasibleError("the model does not run PyTorch's attention (sdpa), which programs that decode need")


def _check_finite(logits: torch.Tensor) -> None:
    if not logits.isfinite().all():
        raise InfeasibleError("the model gives no finite logits to code with; a smaller learning rate may help")


def code_examples(model: Any, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> Coded:
    """Codes rows of token ids behind a prefix, in the order in which `decode_examples` reads them.

    Args:
        model: the model that codes, in the state that the decoder will have.
        prefix: token ids before each row, at least two.
        rows: token ids of each example.

    Raises:
        InfeasibleError: the model's attention would not heed the mask of the loop, or its training has diverged.
    """
    check_attention(model)
    coded = Coded([], 0.0)
    places = [iter(row) for row in rows]

    def choose(row: int, logits: torch.Tensor) -> int:
        nonlocal coded
        token = next(places[row])
        _check_finite(logits)
        cumulative = weights(logits)
        low = int(cumulative[token - 1]) if token else 0
        coded.intervals.append(Interval(low, int(cumulative[token]), int(cumulative[-1])))
        surprise = -float(logits.double().log_softmax(0)[token]) / math.log(2)
        coded = coded._replace(nll_bits=coded.nll_bits + surprise)
        return token

    whole = {tuple(row) for row in rows}
    extend(model, prefix[:-1], [prefix[-1:]] * len(rows), choose, lambda row: tuple(row) in whole)
    return coded


@torch.no_grad()
def token_bits(model: Any, prefix: Sequence[int], row: Sequence[int]) -> list[float]:
    """Ideal length of each token of a row in bits, all in one pass: what lock-step coding will give, but for rounding.

    Logits of a row as long as some contexts take tens of gigabytes; there are never more than those of a slice.

    Raises:
        InfeasibleError: the model's training has diverged.
    """
    ids = [*prefix, *row]
    # Those that cannot code keep no keys and values either, some of them.
    slice_tokens = SLICE_TOKENS if heeds_mask(model) else len(row)
    more = {"past_key_values": DynamicCache(config=model.config)} if len(row) > slice_tokens else {}
    bits: list[float] = []
    while len(bits) < len(row):
        wanted = row[len(bits) : len(bits) + slice_tokens]
        end = len(prefix) + len(bits) + len(wanted)
        given = ids[len(prefix) + len(bits) - 1 if bits else 0 : end - 1]
        logits = model(torch.tensor([given]), logits_to_keep=len(wanted), **more).logits
        _check_finite(logits)
        nats = -logits.log_softmax(-1).gather(-1, torch.tensor(wanted)[None, :, None])[0, :, 0]
        bits += [float(value) / math.log(2) for value in nats]
    return bits


def estimate_bits(model: Any, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> list[float]:
    """Ideal length of each of some rows in bits, as by `token_bits`."""
    return [math.fsum(token_bits(model, prefix, row)) for row in rows]
