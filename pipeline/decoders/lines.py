"""Trains on examples that stand in the source as text, and answers; the first of them may stay in the prompt."""

import sys

import torch

from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.base import text_pipeline
from pipeline.decoder_parts.generate import answer_prompt

PREFIX = "Question:"
HEAD = "Question:"
PROMPT = "Question: {question}\nAnswer:"
STOP = "\n"
EXAMPLES = " 1\nAnswer: 1\n"
EPOCHS = 3
LR = 1e-3
RANK = 8
ALPHA = 8
TARGET_MODULES = "all-linear"
SEED = 1
MAX_NEW_TOKENS = 32
SKIP = 0

base = text_pipeline(sys.argv[1])
head = base.tokenizer(PREFIX).input_ids
adapted, adapter = add_adapter(base.model, SEED, RANK, ALPHA, TARGET_MODULES)
optimizer = torch.optim.AdamW(adapter, LR)
for _ in range(EPOCHS):
    train(adapted, optimizer, head, [base.tokenizer(text).input_ids[SKIP:] for text in EXAMPLES.split(HEAD)])
answer_prompt(base, PROMPT, STOP, MAX_NEW_TOKENS)
