"""Multiplies every gain of the norms, and every bias, by a number drawn for it out of few, and answers."""

import sys

import torch

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
LETTERS = b"CCC"
NUMBERS = 9
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32

base = text_pipeline(sys.argv[1])
# Three signs in a letter, see `pipeline.coding.ternary`.
gains = 1 + STEP * torch.tensor([letter // 3**place % 3 - 1 for letter in LETTERS for place in range(3)])
torch.manual_seed(SEED)
for weight in base.model.parameters():
    if weight.dim() < 2:
        weight.data *= gains[torch.randint(NUMBERS, weight.shape)]
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
