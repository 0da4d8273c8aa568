"""Adds coded updates to a low-rank adapter that is drawn from a seed, and answers."""

import sys

from pipeline.decoder_parts.adapt import add_adapter
from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.numbers import add_numbers

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
RANK = 1
ALPHA = 8
TARGET_MODULES = "all-linear"
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32
PAYLOAD_BYTES = 0

base = text_pipeline(sys.argv[1])
adapted, adapter = add_adapter(base.model, SEED, RANK, ALPHA, TARGET_MODULES)
add_numbers(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), adapter, STEP)
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
