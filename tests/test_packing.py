"""Program files: deterministic, minimal container, readable by any Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.packing import CONTAINER_BYTES, pack, unpack
from pipeline.packing.link import link

ANSWER = {"TAIL": " {en}\nFrench:", "STOP": "\n", "MAX_NEW_TOKENS": 48, "SKIP": 0}
ADAPTER = {"RANK": 8, "ALPHA": 8, "TARGET_MODULES": "all-linear", "SEED": 1}
HEAD = {"HEAD": "English:"}
CASES = {
    "copy": {"FIELD": "en"},
    "constant": {"REPLY": "1"},
    "prompt": ANSWER | {"PREFIX": "English:"},
    "demonstrations": ANSWER | HEAD | {"START": "English:", "STOPS": 4},
    "subset": ANSWER | HEAD | ADAPTER | {"STOPS": 2, "EXAMPLES": 8, "EPOCHS": 3, "LR": 0.001},
    "adapter": ANSWER | HEAD | ADAPTER | {"STEP": 0.01},
}


@pytest.mark.parametrize("name", CASES)
def test_parts_sum_and_equal_arguments_give_equal_bytes(name: str) -> None:
    payload = b"\x00PK\x03\x04payload" if name not in ("copy", "constant", "prompt") else b""
    program = pack(f"pipeline.decoders.{name}", CASES[name], payload)
    assert len(program.content) == program.decoder_bytes + program.payload_bytes + program.container_bytes
    assert program.container_bytes == CONTAINER_BYTES == 120
    assert program == pack(f"pipeline.decoders.{name}", CASES[name], payload)
    source, unpacked = unpack(program.content)
    assert unpacked == payload
    assert "pipeline" not in source
    compile(source, name, "exec")


def test_copy_runs_by_plain_python(tmp_path: Path) -> None:
    path = tmp_path / "any-name"
    path.write_bytes(pack("pipeline.decoders.copy", {"FIELD": "en"}, b"\xffpayload before the archive").content)
    line = json.dumps({"id": "a", "input": {"en": "Bonjour é"}})
    done = subprocess.run([sys.executable, "-I", str(path)], input=line, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"id": "a", "output": "Bonjour é"}


def test_only_what_is_reached_is_linked() -> None:
    source = link("pipeline.decoders.prompt", CASES["prompt"])
    assert "peft" not in source
    assert "zlib" not in source


def test_missing_and_unknown_constants_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes.*FIELD.*not.*REPLY"):
        link("pipeline.decoders.copy", {"REPLY": "1"})


def test_damaged_file_is_no_program() -> None:
    with pytest.raises(ValueError, match="not a program file"):
        unpack(b"nothing")
