"""Adds coded updates to a low-rank adapter that is drawn from a seed, and answers."""

import sys

from pipeline.decoder_parts.adapt import add_adapter
from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.numbers import add_numbers

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
RANK = 1
ALPHA = 8
TARGET_MODULES = "all-linear"
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
model, adapter = add_adapter(model, SEED, RANK, ALPHA, TARGET_MODULES)
add_numbers(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), adapter, STEP)
answer(model, tokenizer, tokenizer(HEAD).input_ids, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
