"""Adds coded updates to a tuner whose frozen part is drawn from a seed, and answers."""

import sys

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.numbers import add_numbers
from pipeline.decoder_parts.tuner import add_tuner, pieces

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
CONFIG = '{"peft_type":"UNILORA","target_modules":"all-linear"}'
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32
PAYLOAD_BYTES = 0

base = text_pipeline(sys.argv[1])
tuned, weights = add_tuner(base.model, SEED, CONFIG)
add_numbers(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), pieces(weights), STEP)
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
