"""The configuration of `tcx make-data`: a YAML file, read in one place, with every mistake in one message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline import catalog
from pipeline.errors import GridError, UserError, unknown_name
from pipeline.files import placed
from pipeline.make_data.layout import made_folder
from pipeline.make_data.verifiers import VERIFIERS
from pipeline.models import parse_model
from pipeline.models.label import LOCAL
from pipeline.yaml_values import Document, is_whole, shown, text_of, value_as

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
HUB_PROMPTS = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a data set is made of, and how.

    Attributes:
        path: the file.
        name: name of the data set.
        teacher: the model that answers, as in a grid.
        prompts: a file (JSON lines or Parquet), or `ORG/NAME[@revision]` on the hub.
        verifier: one of `verifiers.VERIFIERS`.
        test_tasks: tasks whose test items must not come near any prompt.
        validation_prompts: prompts that are set aside and never sampled.
        max_prompts: sample for no more than this many prompts, None for all.
        samples: answers to each prompt.
        max_new_tokens: longest answer; a longer one is dropped.
        temperature: of sampling.
        top_p: sample from the likeliest tokens that have this share together.
        seed: of all sampling.
        shard_prompts: prompts of one shard, the unit of work.
        batch: prompts that are answered side by side, all samples of each.
        out: folder of the data set.
    """

    path: Path
    name: str
    teacher: str
    prompts: str
    verifier: str
    test_tasks: tuple[str, ...]
    validation_prompts: int = 300
    max_prompts: int | None = None
    samples: int = 4
    max_new_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 1
    shard_prompts: int = 64
    batch: int = 16
    out: Path


def read_config(path: Path) -> DataConfig:
    """Reads a configuration.

    Args:
        path: YAML file; paths in it are relative to its folder.

    Raises:
        GridError: every mistake of the file.
        UserError: the file cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    document = Document(str(path), text)
    content, folder = document.content, path.resolve().parent
    if not isinstance(content, dict):
        document.wrong((), f"it is a mapping with the keys {', '.join(_READERS)}; {shown(content)} given")
        raise GridError(str(path), document.mistakes)
    for key in content:
        if key not in _READERS:
            document.wrong((key,), unknown_name("key", key, _READERS))
    for key in _REQUIRED:
        if key not in content:
            document.wrong((), f"the key {key!r} is missing")
    values: dict[str, Any] = {}
    for key, read in _READERS.items():
        if key in content:
            try:
                values[key] = read(content[key], folder)
            except ValueError as error:
                document.wrong((key,), f"{key}: {error}")
    if document.mistakes:
        raise GridError(str(path), document.mistakes)
    values.setdefault("out", made_folder(values["name"]))
    return DataConfig(path=path, **values)


def _name(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise UserError(f"up to 100 small letters, digits, '-' and '_' name a folder; {shown(value)} given")
    return value


def _teacher(value: Any, folder: Path) -> str:
    return parse_model(text_of(value), folder).label


def _prompts(value: Any, folder: Path) -> str:
    text = text_of(value)
    path = placed(folder, text)
    if path.is_file():
        return str(path)
    if text.startswith(LOCAL) or not HUB_PROMPTS.fullmatch(text):
        raise UserError(f"there is no file {path}, and {text!r} is no hub name such as allenai/RLVR-IFeval[@revision]")
    return text


def _verifier(value: Any, folder: Path) -> str:
    name = text_of(value)
    if name not in VERIFIERS:
        raise UserError(unknown_name("verifier", name, VERIFIERS))
    return name


def _test_tasks(value: Any, folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserError(f"a list of tasks is wanted, such as [ifeval]; {shown(value)} given")
    sources = [text_of(item) for item in value]
    files = [str(placed(folder, source).resolve()) for source in sources]
    named = [file if file.endswith((".yaml", ".yml")) else source for source, file in zip(sources, files, strict=True)]
    for source in named:
        catalog.task(source)
    return tuple(named)


def _whole(least: int) -> Callable[[Any, Path], int]:
    def read(value: Any, folder: Path) -> int:
        if not is_whole(value) or value < least:
            raise UserError(f"a whole number of at least {least} is wanted; {shown(value)} given")
        return int(value)

    return read


def _number(most: float) -> Callable[[Any, Path], float]:
    def read(value: Any, folder: Path) -> float:
        number = value_as(value, (float,))
        assert isinstance(number, float)
        if not 0 < number <= most:
            raise UserError(f"a number above 0 and up to {most:g} is wanted; {number:g} given")
        return number

    return read


def _out(value: Any, folder: Path) -> Path:
    out = placed(folder, text_of(value)).resolve()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder, which is made if it is not there")
    return out


_READERS: Mapping[str, Callable[[Any, Path], Any]] = {
    "name": _name,
    "teacher": _teacher,
    "prompts": _prompts,
    "verifier": _verifier,
    "test_tasks": _test_tasks,
    "validation_prompts": _whole(0),
    "max_prompts": _whole(1),
    "samples": _whole(1),
    "max_new_tokens": _whole(1),
    "temperature": _number(10),
    "top_p": _number(1),
    "seed": _whole(0),
    "shard_prompts": _whole(1),
    "batch": _whole(1),
    "out": _out,
}
_REQUIRED = tuple(
    field.name for field in fields(DataConfig) if field.default is MISSING and field.name not in ("path", "out")
)
