"""Prompts and configurations that the tests of made data share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

WriteConfig = Callable[..., Path]


def row(prompt: str, instruction: str = "punctuation:no_comma", **arguments: Any) -> dict[str, Any]:
    """A row of prompts with one instruction."""
    return {"prompt": prompt, "instruction_id_list": [instruction], "kwargs": [arguments]}


TOPICS = ["owls", "rain", "the sea", "old maps", "bread", "chess", "winter", "bridges", "clocks", "mountains"]
VERBS = ["Describe", "Praise", "Explain", "Mock", "Remember", "Question"]


def prompts() -> list[dict[str, Any]]:
    """60 prompts of which no two are near."""
    return [row(f"{verb} {topic} without commas.") for verb in VERBS for topic in TOPICS]


@pytest.fixture
def write_config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    """Writes prompts and a configuration that samples for them with the tiny model; the cache is the test's own."""
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))

    def write(rows: Sequence[Mapping[str, Any]], name: str = "config.yaml", **changes: Any) -> Path:
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "prompts.jsonl").write_text(text, encoding="utf-8")
        content = {
            "name": "birds",
            "teacher": str(tiny_model),
            "prompts": "prompts.jsonl",
            "verifier": "ifeval",
            "test_tasks": [],
            "validation_prompts": 4,
            "samples": 3,
            "max_new_tokens": 48,
            "shard_prompts": 8,
            "batch": 4,
            "out": "out",
        } | changes
        path = tmp_path / name
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write
