"""Random models of two layers, whose programs run in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_tiny_llama(folder: Path, **changes: Any) -> Path:
    """Makes the folder of a random Llama with a byte-level tokenizer, as `tcx` finds models on disk.

    Args:
        folder: where; made.
        changes: of its configuration, such as `hidden_size`.

    Returns:
        The folder.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(["<eos>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    sizes = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
    }
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes | changes, eos_token_id=0, pad_token_id=0)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
