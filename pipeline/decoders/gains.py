"""Multiplies every gain of the norms, and every bias, by a number drawn for it out of few, and answers."""

import sys

import torch

from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.scales import read_scales

PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
NUMBERS = 9
SEED = 1
SLOTS = 9
ZEROS = 7
LEAST = 0.99
RANGE = 0.02
MAX_NEW_TOKENS = 32
PAYLOAD_BYTES = 0

base = text_pipeline(sys.argv[1])
gains = read_scales(int.from_bytes(open(sys.argv[0], "rb").read(PAYLOAD_BYTES)), SLOTS, ZEROS, LEAST, RANGE)
torch.manual_seed(SEED)
for weight in base.model.parameters():
    if weight.ndim < 2:
        weight.data *= torch.tensor(gains)[torch.randint(NUMBERS, weight.shape)]
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
