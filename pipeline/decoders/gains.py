"""Multiplies every gain of the norms, and every bias, by one of a few numbers drawn for it, and answers."""

import sys

import torch

from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.generate import answer_prompt

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
NUMBERS = b"ABA"
HOW_MANY = 3
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32

model, tokenizer = load(sys.argv[1])
torch.manual_seed(SEED)
for weight in model.parameters():
    if weight.dim() < 2:
        # Letters stand for whole numbers, A for 0: deflate is their entropy code.
        weight.data *= 1 + STEP * (torch.tensor([*NUMBERS]) - 65)[torch.randint(HOW_MANY, weight.shape)]
answer_prompt(model, tokenizer, PROMPT, STOP, MAX_NEW_TOKENS)
