"""Adds coded updates to the output matrix of the base model, which the input then no longer shares, and answers."""

import sys

import torch

from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.numbers import add_numbers

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
STEP = 0.01
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
output = model.get_output_embeddings()
output.weight = torch.nn.Parameter(output.weight.clone())
add_numbers(open(sys.argv[0], "rb").read(PAYLOAD_BYTES), [output.weight], STEP)
answer(model, tokenizer, tokenizer(HEAD).input_ids, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
