"""Adds coded updates to all weights of the base model, and answers."""

import sys

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.numbers import add_numbers

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
STEP = 0.01
MAX_NEW_TOKENS = 32
PAYLOAD_BYTES = 0

base = text_pipeline(sys.argv[1])
add_numbers(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), [*base.model.parameters()], STEP)
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
