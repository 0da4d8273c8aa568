"""Answers behind a prompt that stands in the source."""

import sys

from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.base import load

PREFIX = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
MAX_NEW_TOKENS = 32
SKIP = 0

model, tokenizer = load(sys.argv[1])
answer(model, tokenizer, tokenizer(PREFIX).input_ids, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
