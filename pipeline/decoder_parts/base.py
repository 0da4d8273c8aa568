"""The base model, as every program loads it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(folder: str) -> tuple[Any, Any]:
    """Base model in fp32 and its tokenizer.

    One thread, because the sums of two threads round differently and a payload would not decode.
    """
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)
