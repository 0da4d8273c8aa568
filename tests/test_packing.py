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
PROMPT = {"PROMPT": "English: {en}\nFrench:", "STOP": "\n", "MAX_NEW_TOKENS": 48}
HEAD = {"HEAD": "English:"}
CASES = {
    "copy": {"FIELD": "en"},
    "constant": {"REPLY": "1"},
    "prompt": PROMPT,
    "demonstrations": ANSWER | HEAD | {"START": "English:", "STOPS": 4},
    "subset": ANSWER | HEAD | ADAPTER | {"STOPS": 2, "EXAMPLES": 8, "EPOCHS": 3, "LR": 0.001},
    "lines": PROMPT
    | HEAD
    | ADAPTER
    | {"PREFIX": "English:", "EXAMPLES": " a\nFrench: b\n", "EPOCHS": 3, "LR": 0.001, "SKIP": 0},
    "taught": ANSWER | HEAD | ADAPTER | {"STOPS": 2, "SHOWN": 2, "EXAMPLES": 8, "EPOCHS": 3, "LR": 0.001},
    "adapter": PROMPT | ADAPTER | {"STEP": 0.01},
    "weights": PROMPT | {"STEP": 0.01},
    "head": PROMPT | {"STEP": 0.01},
    "terms": PROMPT | {"RANK": 2},
    "tuner": PROMPT | {"CONFIG": '{"peft_type":"VERA","r":1,"target_modules":"all-linear"}', "SEED": 1, "STEP": 0.01},
    "gains": PROMPT | {"NUMBERS": 9, "SEED": 1, "SLOTS": 9, "ZEROS": 7, "LEAST": 0.99, "RANGE": 0.02},
    "reweighted": ANSWER
    | HEAD
    | ADAPTER
    | {"STOPS": 2, "EXAMPLES": 64, "EXAMPLES_BYTES": 3, "LR": 0.001, "STEP": 0.01},
}

WITHOUT_PAYLOAD = ("copy", "constant", "prompt", "lines")

FROZEN = {
    "copy": "c7a34e1b8bfda59d19ebdb63655ad4ba09676cab55500dc4488f0e87abce16cd",
    "constant": "3c9cf13faeb4238d8271be1d2b5317823e1647fd4bf7258c666387dc43ed8894",
    "prompt": "789a160822f2f054e33921748c79621c551cd11a36ea707a643db4c9cd20215d",
    "demonstrations": "02238caf67f41888a03d762a6ac4092c170af9ed80f8c30d5473082178b1fdc3",
    "subset": "672496b7616d2ad8a7cb4c11f5203ff6bedcdcac59d4c4dfba8ebc9d8fc5b382",
    "lines": "9c5970b05b823f8a44b5ed3fd88380859c3be096b3e752eceb78daa39496727c",
    "taught": "ef13f21daaa22cc69a96e1ef445a08e22014898e2a14d210d355a657bfbfa3b7",
    "adapter": "f00413a59c381d339cebd38f39bcfbc3c0c0dea696dc82e7c07987d661f4fa0f",
    "weights": "21e6146efd82ccd1ea0c170622d8ec4c8c8a64ddacc59659ae14136c50694011",
    "head": "9b1fb61ed12db6bd92f22d9f7067516c6b8a5244d72cd73d857331ebd67a7788",
    "terms": "29092e7c8ec97a725a8a89c828199822a1b173837cc1632a1e82f6b56ff19c65",
    "tuner": "7e069eeb29c347a90368a091cf07adebbcca07c49fd19aaa581f93df470ff761",
    "gains": "6abbb621959aa2941cfdb600cead8be3eb7b3ea0bd4cac62c92824ba3e114d8b",
    "reweighted": "6bca2664df778cb8134b79afe3ab994e9b84a07819021c8cceb32b709493772f",
}


@pytest.mark.parametrize("name", CASES)
def test_parts_sum_and_equal_arguments_give_equal_bytes(name: str) -> None:
    payload = b"\x00PK\x03\x04payload" if name not in WITHOUT_PAYLOAD else b""
    program = pack(f"pipeline.decoders.{name}", CASES[name], payload)
    assert len(program.content) == program.decoder_bytes + program.payload_bytes + program.container_bytes
    assert program.container_bytes == CONTAINER_BYTES == 120
    assert program == pack(f"pipeline.decoders.{name}", CASES[name], payload)
    source, unpacked = unpack(program.content)
    assert unpacked == payload
    assert "pipeline." not in source
    compile(source, name, "exec")


@pytest.mark.parametrize(("name", "digest"), FROZEN.items())
def test_programs_of_a_version_stay_the_same(name: str, digest: str) -> None:
    """Another digest means other programs for old cells: raise the version of every family that uses the decoder."""
    payload = b"payload" if name not in WITHOUT_PAYLOAD else b""
    assert pack(f"pipeline.decoders.{name}", CASES[name], payload).sha256 == digest


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


def test_another_part_takes_the_place_of_one() -> None:
    parts = {"add_numbers": "pipeline.decoder_parts.halves"}
    source = link("pipeline.decoders.weights", CASES["weights"] | {"PAYLOAD_BYTES": 8}, parts)
    assert "float16" in source
    assert "constriction" not in source
    whole = link(
        "pipeline.decoders.subset",
        CASES["subset"] | {"PAYLOAD_BYTES": 8},
        {"add_adapter": "pipeline.decoder_parts.whole"},
    )
    assert "peft" not in whole
    assert "AdamW" in whole


def test_a_part_brings_its_own_constants() -> None:
    parts = {"answer": "pipeline.decoder_parts.sampled", "alike": "pipeline.decoder_parts.mbr"}
    own = {"SAMPLES": 7, "TEMPERATURE": 0.25, "SEED": 3, "PAYLOAD_BYTES": 7}
    source = link("pipeline.decoders.demonstrations", CASES["demonstrations"] | own, parts)
    assert "range(7)" in source
    assert "0.25" in source
    assert "SAMPLES" not in source
    assert "Counter" in source
    assert "argmax" not in source
    with pytest.raises(ValueError, match=r"takes.*'SAMPLES'.*not"):
        link("pipeline.decoders.demonstrations", CASES["demonstrations"], parts)
    with pytest.raises(ValueError, match=r"takes.*not.*'SAMPLES'"):
        link("pipeline.decoders.demonstrations", CASES["demonstrations"] | own)


def test_missing_and_unknown_constants_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes.*FIELD.*not.*REPLY"):
        link("pipeline.decoders.copy", {"REPLY": "1"})


def test_damaged_file_is_no_program() -> None:
    with pytest.raises(ValueError, match="not a program file"):
        unpack(b"nothing")


OWN_DECODER = """\
import functools

a = 10


def scale(row, by=2):
    return [value * by for value in row]


def down(n):
    n -= 1
    return n


def added(row):
    return [a + value for a in range(2) for value in row] + [a]


def pick(n):
    return (lambda n: n + 1)(n * 2)


print(scale([1, 2], by=3), scale([1]), down(3), down(3), added([5]), pick(2), pick(2))
calls = [lambda x, k=k: x + k for k in range(2)]
print([*map(functools.partial(scale, by=2), [[1], [2]])], [call(1) for call in calls])
"""


NAMES_OF_ITS_OWN = """\
def told(value, other):
    try:
        value // 0
    except ZeroDivisionError as a:
        pass
    try:
        value // 0
    except ZeroDivisionError as other:
        print(other)
    return value


def kept(row, name):
    class Row:
        name = 2

    match row:
        case [1, *row]:
            pass
    return row, Row.name, name


def found(row):
    match row:
        case [1, *row]:
            return row


print(told(1, 2), told(2, 3), kept([1, 2], 3), kept([2, 2], 4), found([1]), found([1]))
"""
ARGUMENTS_BY_NAME = """\
def less(row, by):
    return row - by


print(less(**{"row": 3, "by": 1}))
"""


@pytest.mark.parametrize(
    ("name", "source"), [("own", OWN_DECODER), ("names", NAMES_OF_ITS_OWN), ("arguments", ARGUMENTS_BY_NAME)]
)
def test_functions_of_a_decoder_of_ones_own_keep_their_meaning(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}_decoder.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "program").write_bytes(pack(f"{name}_decoder", {}).content)
    wanted, found = (
        subprocess.run([sys.executable, "-I", tmp_path / file], capture_output=True, text=True, check=True).stdout
        for file in (f"{name}_decoder.py", "program")
    )
    assert found == wanted != ""
