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
    "lines": ANSWER | HEAD | ADAPTER | {"PREFIX": "English:", "EXAMPLES": " a\nFrench: b\n", "EPOCHS": 3, "LR": 0.001},
    "taught": ANSWER | HEAD | ADAPTER | {"STOPS": 2, "SHOWN": 2, "EXAMPLES": 8, "EPOCHS": 3, "LR": 0.001},
    "adapter": ANSWER | HEAD | ADAPTER | {"STEP": 0.01},
    "weights": ANSWER | HEAD | {"STEP": 0.01},
    "head": ANSWER | HEAD | {"STEP": 0.01},
    "terms": ANSWER | HEAD | {"RANK": 2},
    "tuner": ANSWER
    | HEAD
    | {"CONFIG": '{"peft_type":"VERA","r":1,"target_modules":"all-linear"}', "SEED": 1, "STEP": 0.01},
    "reweighted": ANSWER
    | HEAD
    | ADAPTER
    | {"STOPS": 2, "EXAMPLES": 64, "EXAMPLES_BYTES": 3, "LR": 0.001, "STEP": 0.01},
}

FROZEN = {
    "copy": "9e1aa01b4794f8ed18cc8b49166c412772cd3567ba5a389ee8782b86f9a9b483",
    "constant": "748ba3d1476ef5eb906065fe7cc055bf616eca6b252d40d7aa7628d21839a876",
    "prompt": "cf4601e1fa8ba861e0dcd250f78e33d289d94fdfbeb273efe775095165222a8b",
    "demonstrations": "461ceff816a0861c8c337d73888421f3da444a78c925a1e523b9d88dd705894f",
    "subset": "b0a4c1f959a1525bee0f126ae7dff1e55fb97e5ff654c8cd2a57b773b635bf9e",
    "lines": "52ac248eb649f041c6a0fdb833d0e0b555e6110264c47e049f6085d8b0581dd9",
    "taught": "0c1326604cef01339df27246c1a24ba586770f0c2680bc42d4325383c2879f09",
    "adapter": "45c413541341db92c6ab6deb858098876c54c38546c028498a0cf07a4a44e13e",
    "weights": "4df61a30697a57e69ab1224cee084dfe1a34914f8d61d011be5aa3ae67c6ad05",
    "head": "171e26a02e6b0f41755d62f08624d6fc85e9d86be0fc66edd6906b504d1979c6",
    "terms": "6aae09e5b7e937d168c806459c039a3f02956753237d297b5917524ce5c5c1a4",
    "tuner": "b945530b0ffbb07c745ab2381ba292123c3abce80be8bc058419d61c656044b6",
    "reweighted": "20ef400f8233a5fb8e3164aeaba95cb1b7312714da0355e3940610258774a2fc",
}


@pytest.mark.parametrize("name", CASES)
def test_parts_sum_and_equal_arguments_give_equal_bytes(name: str) -> None:
    payload = b"\x00PK\x03\x04payload" if name not in ("copy", "constant", "prompt", "lines") else b""
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
    payload = b"payload" if name not in ("copy", "constant", "prompt", "lines") else b""
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
    own = {"SAMPLES": 7, "TEMPERATURE": 0.25, "SEED": 3}
    source = link("pipeline.decoders.prompt", CASES["prompt"] | own, parts)
    assert "range(7)" in source
    assert "0.25" in source
    assert "SAMPLES" not in source
    assert "Counter" in source
    assert "argmax" not in source
    with pytest.raises(ValueError, match=r"takes.*'SAMPLES'.*not"):
        link("pipeline.decoders.prompt", CASES["prompt"], parts)
    with pytest.raises(ValueError, match=r"takes.*not.*'SAMPLES'"):
        link("pipeline.decoders.prompt", CASES["prompt"] | own)


def test_missing_and_unknown_constants_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes.*FIELD.*not.*REPLY"):
        link("pipeline.decoders.copy", {"REPLY": "1"})


def test_damaged_file_is_no_program() -> None:
    with pytest.raises(ValueError, match="not a program file"):
        unpack(b"nothing")
