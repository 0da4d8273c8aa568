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
    "gains": PROMPT | {"LETTERS": b"CAC", "NUMBERS": 9, "SEED": 1, "STEP": 0.01},
    "reweighted": ANSWER
    | HEAD
    | ADAPTER
    | {"STOPS": 2, "EXAMPLES": 64, "EXAMPLES_BYTES": 3, "LR": 0.001, "STEP": 0.01},
}

WITHOUT_PAYLOAD = ("copy", "constant", "prompt", "lines", "gains")

FROZEN = {
    "copy": "9e1aa01b4794f8ed18cc8b49166c412772cd3567ba5a389ee8782b86f9a9b483",
    "constant": "748ba3d1476ef5eb906065fe7cc055bf616eca6b252d40d7aa7628d21839a876",
    "prompt": "0d5277c3daf11ad1bcccbce0e9c7df35608f986d9d6d4290308553673faf0936",
    "demonstrations": "d359e173f71eed91f637bdb7a2ed4179b295f0e3ff8cb62441f102be15fe6b4e",
    "subset": "d34f290516bf3364b45cebd5234a7d32204ec78053d5754fcb1363bd3b7e22cd",
    "lines": "181b8a5b9b70fc4c0cdda75b0f70eccc906c3528b548229954463472b9120c26",
    "taught": "6ad9fa35cacef1e220cfdf919360e4d41e2d63a49394c697d5380676c4ce5757",
    "adapter": "81d33fc56de13c248e51c24048fc4baf42483117b81d51eed863ee89303e8382",
    "weights": "8d86a8891edbb5ac0def33552c5164670a7d3ba24bec821cb16ddd94b7ad8ddf",
    "head": "0d0e1460e2089d18b85c9c8993babb3dfa26f3e8b31e825cdf0d34a731e3c1b6",
    "terms": "ab8e55d6fb35cebe534bd49a3a3257fa165a38aa5ed2e162f590175dd40dd637",
    "tuner": "aeac1f08de23407c8ccf5ea20e101193ad0a46ddbffc3d323e379df467a6124f",
    "gains": "24cd325b8e79ee481439001cb360519d01d21b4961f628585a1fbffd7571f4da",
    "reweighted": "0f5e1797106b1f7a8c738e22d1813070421344f48a3662a0ae8f2c4f57ba32ba",
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
    assert "pipeline" not in source
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
