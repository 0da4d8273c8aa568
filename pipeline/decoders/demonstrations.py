"""Decodes demonstrations under the frozen model, each with those before it in context, and answers behind them."""

import sys

from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.arithmetic import reader
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.examples import check, decode_examples

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
STOPS = 2
SHOTS = 4
START = "Question:"
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
read = reader(open(sys.argv[0], "rb").read(PAYLOAD_BYTES))
prefix = tokenizer(START).input_ids
for _ in range(SHOTS):
    prefix += decode_examples(model, tokenizer, read, prefix, 1, STOP, STOPS)[0] + tokenizer(HEAD).input_ids[SKIP:]
check(read, prefix)
answer(model, tokenizer, prefix, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
