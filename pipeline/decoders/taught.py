"""As the decoder of subset, but all examples stand behind a few that are decoded first and stay in the prompt."""

import sys

import torch

from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.arithmetic import reader
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.examples import check, decode_examples

HEAD = "Question:"
TAIL = " {question}\nAnswer:"
STOP = "\n"
STOPS = 2
SHOWN = 2
EXAMPLES = 8
EPOCHS = 3
LR = 1e-3
RANK = 8
ALPHA = 8
TARGET_MODULES = "all-linear"
SEED = 1
MAX_NEW_TOKENS = 32
SKIP = 0
PAYLOAD_BYTES = 0

model, tokenizer = load(sys.argv[1])
read = reader(open(sys.argv[0], "rb").read(PAYLOAD_BYTES))
head = tokenizer(HEAD).input_ids
shown = decode_examples(model, tokenizer, read, head, 1, STOP, STOPS * SHOWN)
head += shown[0] + head[SKIP:]
adapted, adapter = add_adapter(model, SEED, RANK, ALPHA, TARGET_MODULES)
optimizer = torch.optim.AdamW(adapter, LR)
rows = []
while len(rows) < EXAMPLES:
    number = min(max(8, len(rows)), 256, EXAMPLES - len(rows))
    block = decode_examples(adapted, tokenizer, read, head, number, STOP, STOPS)
    train(adapted, optimizer, head, block)
    rows += block
check(read, shown + rows)
for _ in range(EPOCHS - 1):
    train(adapted, optimizer, head, rows)
answer(adapted, tokenizer, head, TAIL, STOP, MAX_NEW_TOKENS, SKIP)
