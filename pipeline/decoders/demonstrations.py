"""Decodes a text of demonstrations under the frozen model and answers behind it."""

import sys

from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.arithmetic import reader
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.examples import check, decode_examples

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
STOPS = 2
START = "Question:"
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
read = reader(open(sys.argv[0], "rb").read(PAYLOAD_BYTES))
start = tokenizer(START).input_ids
(rows,) = decode_examples(model, tokenizer, read, start, 1, STOP, STOPS)
check(read, rows)
prefix = start + rows + tokenizer(HEAD).input_ids[SKIP:]
answer(model, tokenizer, prefix, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
