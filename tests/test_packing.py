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
    "copy": "84add63a6c7dfc736f582c5d177bdfd0f86576cd8837fce5ba0e7c4e96f1ab0e",
    "constant": "c677c44fcd81e2a863b6f3ff421f0d1d476a13b8373b3b527aab34b0a5486c53",
    "prompt": "49a83534b509e558d714966129d02b27e70c7c435224fb39bbcc9e3cbd755efc",
    "demonstrations": "5764aa5ec25c5424e5b127e4eaedc6b4e8d463f295954a189bf8fff473086dc5",
    "subset": "cc619a7f2a708146e8f9f9dd744e449b53348f97701c16b6ca8e3e77731b5813",
    "lines": "eccd2fe01721f073e972cad55099af24d4a0b9da430c8af3c318d37f5b2acdc5",
    "taught": "c5607bccf2a8d1ade3154fb8e506834776daa2ec19cc6210e159c053e93ec6a9",
    "adapter": "b2137b335114c427db450d90bd77fb3fc21e98c620b82106fccdf6dd324e274d",
    "weights": "e4f6c66dfa3ad250ab3656397132c05b8620390d503e033071ee015059694143",
    "head": "0946be98144d68be02515559f15ed2a66dcfca2b617d78c101a626e04c7e8f4e",
    "terms": "fd39d6927f625d78d0c1be934dccfa6008f62e2009249fa72cf24d2ef871a0da",
    "tuner": "eba580381d7baa90f15aa8074d38e388c85debe709a8885ca334bf59c7f3bd26",
    "gains": "8ff7e07cbbb558cc627af6527d91b6c529fe07a027ab2c6b991b957e3fb18b53",
    "reweighted": "4618e058886c0d6cc9477b0047c728328be6bfa8fd25d34b1baecd7cb92aefd4",
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


def test_functions_of_a_decoder_of_ones_own_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_decoder.py").write_text(OWN_DECODER)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "program").write_bytes(pack("own_decoder", {}).content)
    wanted, found = (
        subprocess.run([sys.executable, "-I", tmp_path / name], capture_output=True, text=True, check=True).stdout
        for name in ("own_decoder.py", "program")
    )
    assert found == wanted != ""
