"""The base model, as every program loads it."""

from __future__ import annotations

from typing import Any

import torch
import transformers


def text_pipeline(folder: str) -> Any:
    """Base model in fp32 and its tokenizer, as the pipeline of transformers that generates text.

    One thread, because the sums of two threads round differently and a payload would not decode.
    """
    torch.set_num_threads(1)
    return transformers.pipeline("text-generation", folder, dtype="float", device=-1)


def load(folder: str) -> tuple[Any, Any]:
    """Model and tokenizer of `text_pipeline`."""
    base = text_pipeline(folder)
    return base.model, base.tokenizer
