"""Attention on a processor in which each text of a packed line looks at itself alone, and at nothing that is masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_TEXT = "by_text"
"""Name under which transformers knows `attend_by_text`."""
UNLIKE = 1e-5
"""Distance of the logits of a text behind two others, as a share of their spread. It is nothing, or rounding of a
ten-millionth, where the text does not see them; some hundred-thousandths and more where it does, in random weights, and
a third and more in trained ones."""


@contextmanager
def attention_by_text(model: Any) -> Iterator[None]:
    """Lets a model attend text by text, where it would use PyTorch's attention on a processor; elsewhere does nothing.

    With the mask of a packed line, attention there computes the square of the line and throws most of it away. GPUs
    have kernels that skip what is masked, and are given lines of a limited length.
    """
    first = model.config._attn_implementation
    if first != "sdpa" or torch.cuda.is_available():
        yield
        return
    AttentionInterface.register(BY_TEXT, attend_by_text)
    AttentionMaskInterface.register(BY_TEXT, sdpa_mask)
    model.set_attn_implementation(BY_TEXT)
    try:
        yield
    finally:
        model.set_attn_implementation(first)


def attends_by_text(model: Any) -> bool:
    """Whether a model is under `attention_by_text`, and packed lines may be of any length."""
    return bool(model.config._attn_implementation == BY_TEXT)


@torch.no_grad()
def tells_texts_apart(model: Any, tokens: Sequence[int]) -> bool:
    """Whether a text of a packed line does not see the one before it: not all models heed positions that begin anew.

    Args:
        model: causal language model, which is left without dropout.
        tokens: beginning of a text; it stands behind itself, and behind itself in reverse.
    """
    model.eval()
    positions = torch.arange(len(tokens), device=model.device).repeat(1, 2)
    behind_itself, behind_another = (
        model(torch.tensor([[*first, *tokens]], device=model.device), position_ids=positions, use_cache=False)
        .logits[0, len(tokens) :]
        .float()
        for first in (tokens, tokens[::-1])
    )
    return bool((behind_itself - behind_another).std() < UNLIKE * behind_itself.std())


def attend_by_text(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What `sdpa_attention_forward` gives for one packed line, without the products that its mask drops.

    Args:
        module: attention of a layer.
        query: [1][heads][tokens][width].
        key: [1][heads of keys][tokens][width].
        value: like `key`.
        attention_mask: whether a token sees another [1][1][tokens][tokens]; None for one text.
        position_ids: [1][tokens]; a text begins where the position is 0. Some models keep them back: then, as for
            several lines, the mask is used as it is.
        options: for `sdpa_attention_forward`.
    """
    if attention_mask is None or position_ids is None or position_ids.shape[:-1] != (1,) or len(query) != 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    ends = [*starts[1:], query.shape[2]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    outputs = []
    # Split, not sliced: the gradient of each slice would be as long as the line.
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    # Its gradients take nine times as long in bfloat16 as in fp32, on a processor that has products in bfloat16.
    with torch.autocast(query.device.type, enabled=False):
        for start, end, of_text in zip(starts, ends, parts, strict=True):
            # Where the last token sees the first one, no window cuts the text: it is plainly causal, and needs no mask.
            is_whole = bool(attention_mask[0, 0, end - 1, start])
            mask = None if is_whole else attention_mask[:, :, start:end, start:end]
            queries, keys, values = (tensor.float() for tensor in of_text)
            outputs.append(sdpa_attention_forward(module, queries, keys, values, mask, **options)[0])
    return torch.cat(outputs, dim=1).to(query.dtype), None
