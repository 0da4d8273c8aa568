"""Encoding and decoding a text under the model, against generating as many tokens in the same batch shape.

    python benchmarks/coding_time.py [--json] [--examples 32]

Generating is `transformers`' own `generate`, sampling, with its cache, as long as the mean example: what anybody would
run to get that many tokens out of the model. All three run in one process, on one thread, in fp32. The coder is run on
English-French examples, as family `subset` codes its first block. Base model: the packaged SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from pipeline import catalog
from pipeline.coding.examples import code_examples
from pipeline.coding.template import Template
from pipeline.decoder_parts.arithmetic import reader
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.examples import check, decode_examples
from pipeline.families.common import head_ids, train_rows
from pipeline.models import parse_model
from pipeline.models.stage import stage


def measure(num_examples: int) -> dict[str, float]:
    """Seconds of each, on the same tokens."""
    model, tokenizer = load(str(stage(parse_model("smollm2-135m", Path())).folder))
    task = catalog.task("en-fr-software")
    template, head = Template.of(task), head_ids(task, tokenizer)
    rows = train_rows(task, tokenizer, 1, num_examples)
    num_tokens = sum(map(len, rows))

    started = time.perf_counter()
    coded = code_examples(model, head, rows)
    payload = coded.payload(rows)
    encode_seconds = time.perf_counter() - started

    started = time.perf_counter()
    read = reader(payload)
    decoded = decode_examples(model, tokenizer, read, head, len(rows), task.stop, template.stops)
    check(read, decoded)
    decode_seconds = time.perf_counter() - started
    assert decoded == rows

    length = round(num_tokens / len(rows))
    prompts = torch.tensor([head] * len(rows))
    started = time.perf_counter()
    torch.manual_seed(1)
    model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        min_new_tokens=length,
        max_new_tokens=length,
        pad_token_id=0,
    )
    generate_seconds = (time.perf_counter() - started) * num_tokens / (length * len(rows))
    return {
        "examples": len(rows),
        "tokens": num_tokens,
        "payload_bytes": len(payload),
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
        "generate_seconds": generate_seconds,
        "ratio": (encode_seconds + decode_seconds) / generate_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--examples", type=int, default=32, help="examples coded side by side")
    options = parser.parse_args()
    measured = measure(options.examples)
    if options.json:
        print(json.dumps(measured))
        return
    print(
        f"{measured['tokens']:,} tokens of {measured['examples']} examples: encode {measured['encode_seconds']:.1f} s, "
        f"decode {measured['decode_seconds']:.1f} s, generate {measured['generate_seconds']:.1f} s; "
        f"encode + decode takes {measured['ratio']:.2f} times as long as generating"
    )


if __name__ == "__main__":
    main()
