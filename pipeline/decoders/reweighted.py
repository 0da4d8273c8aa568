"""Decodes training examples and trains on them, then weighs what each step changed in each module, and answers."""

import sys

import torch

from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.arithmetic import reader
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.examples import check, decode_examples
from pipeline.decoder_parts.numbers import add_numbers

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
STOPS = 2
EXAMPLES = 64
EXAMPLES_BYTES = 0
LR = 1e-4
RANK = 8
ALPHA = 8
TARGET_MODULES = "all-linear"
SEED = 1
STEP = 0.01
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
payload = open(sys.argv[0], "rb").read(PAYLOAD_BYTES)
read = reader(payload[:EXAMPLES_BYTES])
head = tokenizer(HEAD).input_ids
adapted, adapter = add_adapter(model, SEED, RANK, ALPHA, TARGET_MODULES)
optimizer = torch.optim.AdamW(adapter, LR)
rows = []
states = [[weight.detach().clone() for weight in adapter]]
while len(rows) < EXAMPLES:
    number = min(max(8, len(rows)), 256, EXAMPLES - len(rows))
    block = decode_examples(adapted, tokenizer, read, head, number, STOP, STOPS)
    while block:
        train(adapted, optimizer, head, block[:8])
        states.append([weight.detach().clone() for weight in adapter])
        rows += block[:8]
        block = block[8:]
check(read, rows)
factors = torch.ones(len(adapter) // 2, len(states) - 1)
add_numbers(payload[EXAMPLES_BYTES:], [factors], STEP)
for place, weight in enumerate(adapter):
    values = torch.stack([state[place] for state in states])
    weight.data = values[0] + torch.tensordot(factors[place // 2], values.diff(dim=0), 1)
answer(adapted, tokenizer, head, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
