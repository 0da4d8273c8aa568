"""From a file of prompts to those that are sampled for and those that are set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import catalog, hub
from pipeline.errors import UserError
from pipeline.make_data.config import DataConfig
from pipeline.make_data.overlap import TestItems, item_texts, near_duplicates
from pipeline.make_data.verifiers import VERIFIERS, Prompt
from pipeline.tasks.rows import file_rows, reading
from pipeline.tasks.splits import fair_order, normalised

CHAT_MARKERS = ("<|im_start|>", "<|im_end|>")
"""They stand around messages in templates; inside of one they would end it."""
HUB_FILES = ("*.parquet", "*.jsonl", "data/*.parquet", "data/*.jsonl")


class Prepared(NamedTuple):
    """Prompts after all filters.

    Attributes:
        train: prompts to sample for, in the order of the shards.
        validation: prompts set aside.
        counts: how many there were after each filter, and why rows gave none.
    """

    train: Sequence[Prompt]
    validation: Sequence[Prompt]
    counts: dict[str, Any]


def prepare_prompts(config: DataConfig) -> Prepared:
    """Reads prompts, and drops repeated ones and those that come near a test item.

    Nothing depends on the order of the file.

    Raises:
        UserError: they cannot be read, or none is left.
    """
    verifier = VERIFIERS[config.verifier]
    found: list[Prompt] = []
    without: Counter[str] = Counter()
    rows = 0
    for row in _rows(config.prompts):
        rows += 1
        try:
            prompt = verifier.read(row)
            "".join(prompt).encode()
        except UserError:
            raise
        except UnicodeEncodeError:
            without["half of a character (a lone surrogate) in the text"] += 1
            continue
        except ValueError as error:
            without[str(error)] += 1
            continue
        except (TypeError, AttributeError, OverflowError, RecursionError):
            without["a value of another kind than is read there"] += 1
            continue
        if any(marker in prompt.prompt for marker in CHAT_MARKERS):
            without["a marker of chat templates in the text"] += 1
            continue
        found.append(prompt)
    distinct = {normalised(prompt.prompt): prompt for prompt in sorted(found, reverse=True)}
    ordered = fair_order(distinct.values(), lambda prompt: normalised(prompt.prompt), config.name)
    near = near_duplicates([prompt.prompt for prompt in ordered])
    apart = [prompt for place, prompt in enumerate(ordered) if place not in near]
    test_items = TestItems(text for task in config.test_tasks for text in _test_texts(task))
    clean = [prompt for prompt in apart if not test_items.are_in(prompt.prompt)]
    validation, train = clean[: config.validation_prompts], clean[config.validation_prompts :][: config.max_prompts]
    counts = {
        "rows": rows,
        "rows_without_prompt": dict(sorted(without.items())),
        "prompts": len(found),
        "after_exact_duplicates": len(distinct),
        "after_near_duplicates": len(apart),
        "after_test_items": len(clean),
        "validation_prompts": len(validation),
        "train_prompts": len(train),
    }
    if not found:
        raise UserError(
            f"{config.prompts} has no prompt for the verifier {config.verifier}, which reads {verifier.columns}; "
            f"of {rows} rows: {_listed(without) or 'none'}"
        )
    if not train:
        raise UserError(
            f"no prompt is left to sample for: {config.validation_prompts} are set aside (validation_prompts), and "
            f"{len(clean)} are left of {len(found)} without duplicates and test items"
        )
    return Prepared(train, validation, counts)


def _rows(source: str) -> Iterator[dict[str, Any]]:
    for path in _paths(source):
        with reading(path):
            yield from file_rows(path)


def _paths(source: str) -> list[Path]:
    if Path(source).is_file():
        return [Path(source)]
    repo, _, revision = source.partition("@")
    folder = hub.data_folder(repo, HUB_FILES, revision or None)
    paths = sorted(path for pattern in HUB_FILES for path in folder.glob(pattern))
    if not paths:
        raise UserError(f"{folder} holds none of {', '.join(HUB_FILES)}")
    # Other splits of the repository may be test items.
    return [path for path in paths if path.name.startswith("train")] or paths


def _test_texts(source: str) -> Iterator[str]:
    for example in catalog.task(source).split("test"):
        yield from item_texts([*example.input.values()])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} with {reason}" for reason, count in counts.most_common(5))
