"""Program files: deterministic, minimal container, readable by any Python."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline.packing import pack
from pipeline.packing.link import link
from pipeline.program_file import END, container_bytes, program_file, unpack

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
    "scales": PROMPT | {"NUMBERS": 9, "SEED": 1, "SLOTS": 9, "ZEROS": 7, "LEAST": 0.99, "RANGE": 0.02},
    "reweighted": ANSWER
    | HEAD
    | ADAPTER
    | {"STOPS": 2, "EXAMPLES": 64, "EXAMPLES_BYTES": 3, "LR": 0.001, "STEP": 0.01},
}

WITHOUT_PAYLOAD = ("copy", "constant", "prompt", "lines")

FROZEN = {
    "copy": "5594c68e6be80de39fcd8db110c59476c2bb02a4108f3ee8aa125e5549962b2d",
    "constant": "10f122eac1717599b669248ac83e039de0f538a25573d6f2bf1e3140e41fdae8",
    "prompt": "e46ee490685c20ae108e3441590824992507c12f63624b4fda17e7092015c869",
    "demonstrations": "254438400daf2f52537ebfc34216885052826d61e8ab6d437b4910afd820293b",
    "subset": "7c821c1da227f400f750bf2277e8d9931c1e3ee353a0f5790c8bbb6ae28e752b",
    "lines": "6c47ca686ccc203278cfe2876d42e5520e7c9afcbf5c9bd02e51487b4d40ebc5",
    "taught": "a0d560c4cc3394b03aa64d3004da0afb316341b5cfaf4ffccd88a3b3b21f96e1",
    "adapter": "1d622dc081b4cd656ead432f4ec73d00749273ab18a983c13d6d3786b6f7473a",
    "weights": "c2cfd4a7a7a9690b3c5d45d7cc8cf80c9aef58578bf3997449c6c440979366ce",
    "head": "8bb76cbc270fcb5097ef2bc7a0aa17ef6ce2e7767db3f34e038d271946b6517e",
    "terms": "cf8d5f337eb1bbe855ec978bc8a23a0d907f07b6373db2bd722c61f9f50a5bf5",
    "tuner": "a3e3f74f10d97907775fd06eb1fa68212d582a3566dc0b2c3044c76ea249967b",
    "gains": "bb843de4c79a42c9362f5cda7174b4917fb9450d3375df1948056636dfe324f0",
    "scales": "cb46d95d728b8ae27727b7b68d23a5b10be595b84296c49fb02fee096e8d71f6",
    "reweighted": "52df1ec17037cda894fd19af758f37447fc6447ce0b68d4251b5cbfc976e92c1",
}


@pytest.mark.parametrize("name", CASES)
def test_parts_sum_and_equal_arguments_give_equal_bytes(name: str) -> None:
    payload = b"\x00PK\x03\x04payload" if name not in WITHOUT_PAYLOAD else b""
    program = pack(f"pipeline.decoders.{name}", CASES[name], payload)
    assert len(program.content) == program.decoder_bytes + program.payload_bytes + program.container_bytes
    assert program.container_bytes == container_bytes(program.content) == 67
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


def test_only_the_last_end_record_counts() -> None:
    """A payload may hold anything that a zip archive is made of."""
    payload = zipped("print('another program')") + b"PK\5\6" * 10
    assert unpack(pack("pipeline.decoders.copy", {"FIELD": "en"}, payload).content)[1] == payload


def test_programs_of_earlier_versions_are_read() -> None:
    content = b"payload" + zipped("print(1)")
    assert unpack(content) == ("print(1)", b"payload")
    assert container_bytes(content) == 120


@pytest.mark.parametrize(("member_bytes", "container"), [(65_524, 67), (65_525, 89), (300_000, 89)])
def test_programs_of_any_length_run(tmp_path: Path, member_bytes: int, container: int) -> None:
    """Python looks for the end record in the last 65,557 bytes of a file."""
    content = program_file(b"payload", stored(member_bytes))
    assert container_bytes(content) == container == len(content) - len(b"payload") - member_bytes
    source, payload = unpack(content)
    assert source.startswith("print('it ran')#") and payload == b"payload"
    path = tmp_path / "program.pyz"
    path.write_bytes(content)
    assert subprocess.run([sys.executable, path], capture_output=True, check=True).stdout == b"it ran\n"


def test_an_end_record_in_the_source_does_no_harm(tmp_path: Path) -> None:
    content = program_file(b"payload", stored(200, comment=END.decode()))
    assert container_bytes(content) == 89
    path = tmp_path / "program.pyz"
    path.write_bytes(content)
    assert subprocess.run([sys.executable, path], capture_output=True, check=True).stdout == b"it ran\n"


def stored(member_bytes: int, comment: str = "") -> bytes:
    """A source that prints a line, as a deflated member of that size: its blocks are stored, not compressed."""
    for size in range(member_bytes, 0, -1):
        deflate = zlib.compressobj(0, zlib.DEFLATED, -15)
        member = deflate.compress(f"print('it ran')#{comment}".ljust(size, "#").encode()) + deflate.flush()
        if len(member) == member_bytes:
            return member
    raise AssertionError(f"no source has {member_bytes} bytes")


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", source)
    return buffer.getvalue()


DAMAGED = {
    "no zip": b"nothing",
    "signature alone": b"PK\5\6",
    "without its end": zipped("print(1)")[:-5],
    "without its start": zipped("print(1)")[40:],
}


# Named, for a zip has the time in it, and the processes of a parallel run must collect equal names.
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file_is_no_program(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a program file"):
        unpack(content)


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


@pytest.mark.parametrize("number", [-3, -0.5, -(2**70), 0, 3])
def test_a_constant_below_0_is_one_number(number: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "NUMBER = 1\n\nprint([NUMBER ** 2, NUMBER.real, -NUMBER, 2 - NUMBER, [1, 2, 3][: int(NUMBER)]])\n"
    (tmp_path / "squared.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "program"
    path.write_bytes(pack("squared", {"NUMBER": number}).content)
    done = subprocess.run([sys.executable, "-I", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{[number**2, number, -number, 2 - number, [1, 2, 3][: int(number)]]}\n"


CLASHES = {
    "a variable": ("from pipeline.decoder_parts.base import load\n\nload = load('model')\n", "load is the name"),
    "a function": (
        "from pipeline.decoder_parts.sampled import typical\n\n\ndef alike(text):\n    return 1\n\n\n"
        "print(typical(['a', 'b']), alike)\n",
        "alike is the name",
    ),
    "an import": (
        "from json import load\n\nfrom pipeline.decoder_parts.base import text_pipeline\n\n"
        "from pipeline.decoder_parts.base import load as other\n",
        "as they are named",
    ),
    "a module": ("import pipeline.decoder_parts.base\n", "parts are taken by"),
    "two parts": (
        "from pipeline.decoder_parts.answer import answer\nfrom pipeline.decoder_parts.sampled import answer\n",
        "have a function answer each",
    ),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_one_name_for_two_things_is_refused(clash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoder and parts become one module, in which the last one to set a name would win."""
    source, message = CLASHES[clash]
    module = f"clash_of_{clash.replace(' ', '_')}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        link(module, {})
