"""Tiny programs, a tiny model and real runners."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runner import Runner
from tests.tiny_models import save_tiny_llama

COPY = """
import json, sys
for line in sys.stdin:
    item = json.loads(line)
    print(json.dumps({"id": item["id"], "output": item["input"]["text"]}))
"""


def pack(source: str) -> bytes:
    """Program file of a source text."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", source)
    return file.getvalue()


def answer(body: str) -> bytes:
    """Program that gives the value of `result`, set by `body`, as JSON for every item."""
    return pack(
        f"""
import json, sys
items = [json.loads(line) for line in sys.stdin]
{body}
for item in items:
    print(json.dumps({{"id": item["id"], "output": json.dumps(result)}}))
"""
    )


def marked_processes(mark: str) -> list[int]:
    """Processes of the machine that have a text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def no_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for programs that do not look at their model."""
    return tmp_path_factory.mktemp("no-model")


@pytest.fixture(scope="session")
def cold(cache_folder: Path) -> Iterator[Runner]:
    with Runner(cache_folder, warm=False) as runner:
        yield runner


@pytest.fixture(scope="session")
def warm(cache_folder: Path) -> Iterator[Runner]:
    with Runner(cache_folder, warm=True) as runner:
        yield runner


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose answers to different questions differ."""
    return save_tiny_llama(tmp_path_factory.mktemp("model") / "model", initializer_range=0.5)
