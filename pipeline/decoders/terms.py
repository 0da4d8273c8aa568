"""Adds coded rank-one terms to the inner linear modules of the base model, and answers."""

import sys

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.terms import add_terms

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
RANK = 1
MAX_NEW_TOKENS = 32
PAYLOAD_BYTES = 0

base = text_pipeline(sys.argv[1])
add_terms(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), base.model, RANK)
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
