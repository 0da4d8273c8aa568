"""Answers behind a prompt that stands in the source."""

import sys

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
MAX_NEW_TOKENS = 32

base = text_pipeline(sys.argv[1])
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
