"""The model that answers: by vLLM where it is installed and there is a GPU, else by transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.make_data.config import DataConfig

END_OF_THOUGHT = "</think>"
"""What stands before it, a teacher has thought and not answered."""
SEED_LIMIT = 2**31


class Answer(NamedTuple):
    """One sample.

    Attributes:
        text: the answer, without special tokens and thoughts.
        is_finished: whether the teacher ended it; else it came to its length limit, or the prompt did not fit.
        tokens: number of tokens that were sampled.
    """

    text: str
    is_finished: bool
    tokens: int


class Teacher(Protocol):
    """Gives samples. The same machine gives the same ones for a shard, whichever were asked for before."""

    engine: str
    """The library that runs the model, with its version."""

    def answers(self, prompts: Sequence[str], shard: int) -> list[list[Answer]]:
        """All samples of each prompt of one shard: [prompts][samples]."""
        ...


def load_teacher(folder: Path, config: DataConfig) -> Teacher:
    """Loads a staged model.

    Args:
        folder: its staged folder.
        config: how to sample.
    """
    import torch

    if torch.cuda.is_available() and find_spec("vllm") is not None:
        return _Vllm(folder, config)
    return _Transformers(folder, config)


class _Transformers:
    """Batches of prompts side by side, padded on the left; the random numbers of a shard follow from its number."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.engine = f"transformers {transformers.__version__}"
        self._config = config
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(self._device).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._ends = _end_tokens(self._model.config, self._tokenizer)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token_id = self._ends[0] if self._ends else 0

    def answers(self, prompts: Sequence[str], shard: int) -> list[list[Answer]]:
        import torch

        torch.manual_seed(_seed(self._config.seed, f"shard {shard}"))
        asked = [_token_ids(self._tokenizer, prompt) for prompt in prompts]
        found: dict[int, list[Answer]] = {}
        fitting = [place for place, ids in enumerate(asked) if _fits(self._model.config, ids, self._config)]
        for start in range(0, len(fitting), self._config.batch):
            places = fitting[start : start + self._config.batch]
            found |= zip(places, self._batch([asked[place] for place in places]), strict=True)
        return [found.get(place, _no_answers(self._config)) for place in range(len(prompts))]

    def _batch(self, rows: Sequence[list[int]]) -> Iterator[list[Answer]]:
        inputs = self._tokenizer.pad({"input_ids": list(rows)}, return_tensors="pt").to(self._device)
        ids = self._model.generate(
            **inputs,
            do_sample=True,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            top_k=0,
            num_return_sequences=self._config.samples,
            max_new_tokens=self._config.max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=self._tokenizer.pad_token_id,
        )[:, inputs["input_ids"].shape[1] :].tolist()
        answers = [self._answer(row) for row in ids]
        for start in range(0, len(answers), self._config.samples):
            yield answers[start : start + self._config.samples]

    def _answer(self, row: list[int]) -> Answer:
        length = next((place for place, token in enumerate(row) if token in self._ends), None)
        kept = row if length is None else row[:length]
        return _answer(self._tokenizer.decode(kept, skip_special_tokens=True), length is not None, len(kept))


class _Vllm:
    """All prompts of a shard at once; each has random numbers of its own."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        import torch
        import vllm
        from transformers import AutoConfig, AutoTokenizer

        self.engine = f"vllm {vllm.__version__}"
        self._config = config
        self._library = vllm
        self._model = vllm.LLM(
            model=str(folder), seed=config.seed, dtype="bfloat16", tensor_parallel_size=torch.cuda.device_count()
        )
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model_config = AutoConfig.from_pretrained(folder)
        self._ends = _end_tokens(self._model_config, self._tokenizer)

    def answers(self, prompts: Sequence[str], shard: int) -> list[list[Answer]]:
        asked = [_token_ids(self._tokenizer, prompt) for prompt in prompts]
        fitting = [place for place, ids in enumerate(asked) if _fits(self._model_config, ids, self._config)]
        outputs = self._model.generate(
            [{"prompt_token_ids": asked[place]} for place in fitting],
            [self._settings(prompts[place]) for place in fitting],
            use_tqdm=False,
        )
        found = {place: self._answers(output) for place, output in zip(fitting, outputs, strict=True)}
        return [found.get(place, _no_answers(self._config)) for place in range(len(prompts))]

    def _settings(self, prompt: str) -> Any:
        return self._library.SamplingParams(
            n=self._config.samples,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            max_tokens=self._config.max_new_tokens,
            stop_token_ids=self._ends,
            seed=_seed(self._config.seed, prompt),
        )

    def _answers(self, output: Any) -> list[Answer]:
        return [_answer(one.text, one.finish_reason == "stop", len(one.token_ids)) for one in output.outputs]


def _answer(text: str, is_finished: bool, tokens: int) -> Answer:
    return Answer(text.rpartition(END_OF_THOUGHT)[2].strip(), is_finished, tokens)


def _no_answers(config: DataConfig) -> list[Answer]:
    return [Answer("", False, 0)] * config.samples


def _token_ids(tokenizer: Any, prompt: str) -> list[int]:
    """As a conversation where the model has a template for one, else the prompt and an empty line."""
    if tokenizer.chat_template is None:
        plain: list[int] = tokenizer(f"{prompt}\n\n").input_ids
        return plain
    conversation = [{"role": "user", "content": prompt}]
    encoded = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def _fits(model_config: Any, ids: Sequence[int], config: DataConfig) -> bool:
    context = getattr(model_config, "max_position_embeddings", None)
    return context is None or len(ids) + config.max_new_tokens <= context


def _end_tokens(model_config: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's, and those of the model's configuration."""
    named = model_config.eos_token_id
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return sorted({token for token in ids if token is not None})


def _seed(seed: int, what: str) -> int:
    return int(hashlib.sha256(f"{seed}\n{what}".encode()).hexdigest(), 16) % SEED_LIMIT
