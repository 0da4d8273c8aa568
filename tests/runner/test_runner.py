"""What a runner gives back, what it refuses, and that warm and cold runs are one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import CAUSES, ProgramError
from pipeline.runner import REFERENCE_MACHINE, Runner, build_view, check_reference_machine
from pipeline.runner.reference_machine import PACKAGES, closure, view_targets

from .conftest import COPY, answer, marked_processes, pack

GENERATE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for line in sys.stdin:
    item = json.loads(line)
    tokens = tokenizer(item["input"]["text"], return_tensors="pt")
    ids = model.generate(**tokens, max_new_tokens=16, do_sample=False, pad_token_id=0)[0]
    logits = model(ids[None]).logits
    print(json.dumps({"id": item["id"], "output": json.dumps([ids.tolist(), logits.double().sum().item().hex()])}))
"""

SLEEPING_GRANDCHILD = """
import os, sys, time, json
mark = json.loads(sys.stdin.readline())["input"]["text"]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(300)", mark])
    os._exit(0)
time.sleep(300)
"""


def texts(*values: str) -> list[dict[str, str]]:
    return [{"text": value} for value in values]


def wait_for(mark: str, *, present: bool) -> bool:
    deadline = time.monotonic() + 20
    while bool(marked_processes(mark)) != present:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_outputs_come_in_the_order_of_the_inputs(cold: Runner, no_model: Path) -> None:
    values = ["ccc", "a", "", "bb", "a", "é漢\u2028\n", "aa"]
    execution = cold.execute(pack(COPY), no_model, texts(*values), time_limit_seconds=30)
    assert execution.outputs == tuple(values)
    assert execution.wall_seconds > 0
    assert execution.cpu_seconds > 0
    assert execution.peak_memory_bytes > 1_000_000


def test_no_inputs_give_no_outputs(cold: Runner, no_model: Path) -> None:
    assert cold.execute(pack(COPY), no_model, [], time_limit_seconds=30).outputs == ()


def test_lines_are_sorted_by_length_and_text(cold: Runner, no_model: Path) -> None:
    program = answer("result = [item['input']['text'] for item in items]")
    execution = cold.execute(program, no_model, texts("ccc", "b", "aa", "a"), time_limit_seconds=30)
    assert json.loads(execution.outputs[0]) == ["a", "b", "aa", "ccc"]


def test_ids_tell_nothing(cold: Runner, no_model: Path) -> None:
    program = answer("result = [item['id'] for item in items]")
    runs = [cold.execute(program, no_model, texts("b", "a", "b"), time_limit_seconds=30).outputs for _ in range(2)]
    first, second = (set(json.loads(outputs[0])) for outputs in runs)
    assert len(first) == len(second) == 3
    assert not first & second
    assert {len(item) for item in first | second} == {16}


GOOD = "print(json.dumps({'id': item['id'], 'output': ''}))"


@pytest.mark.parametrize(
    ("body", "cause", "message"),
    [
        ("sys.exit(65)", "program-payload", "wrong base model"),
        ("sys.exit(3)", "program-crash", "exit status 3"),
        ("1 / 0", "program-crash", "ZeroDivisionError"),
        ("import os; os.abort()", "program-crash", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "program-memory", "SIGKILL"),
        ("import time; time.sleep(60)", "program-timeout", "longer than 2 s"),
        ("pass", "program-output", "1 of 1 inputs have no output"),
        (f"{GOOD}; {GOOD}", "program-output", "a second output"),
        (f"{GOOD}; print('{{}}')", "program-output", "line 2 is not"),
        (f"{GOOD}; print('hello')", "program-output", "line 2 is not JSON"),
        (f"{GOOD}; print()", "program-output", "line 2 is not JSON"),
        ("print(json.dumps({'id': 'x', 'output': ''}))", "program-output", "no input has the id 'x'"),
        ("print(json.dumps({'id': item['id'], 'output': 1}))", "program-output", "line 1 is not"),
        ("print(json.dumps({'id': item['id'], 'output': chr(0xD800)}))", "program-output", "surrogate"),
        ("sys.stdout.buffer.write(bytes([255, 10]))", "program-output", "UTF-8"),
    ],
)
def test_causes(cold: Runner, no_model: Path, body: str, cause: str, message: str) -> None:
    program = pack(f"import json, sys\nitem = json.loads(input())\n{body}\n")
    limit_seconds = 2.0 if cause == "program-timeout" else 30.0
    with pytest.raises(ProgramError, match=message) as caught:
        cold.execute(program, no_model, texts("a"), time_limit_seconds=limit_seconds)
    assert caught.value.cause == cause
    assert cause in CAUSES


def test_a_file_that_is_no_program_is_a_crash(cold: Runner, no_model: Path) -> None:
    with pytest.raises(ProgramError) as caught:
        cold.execute(b"not a zip file", no_model, texts("a"), time_limit_seconds=30)
    assert caught.value.cause == "program-crash"


@pytest.mark.parametrize("kind", ["cold", "warm"])
def test_the_time_limit_ends_grandchildren(request: pytest.FixtureRequest, no_model: Path, kind: str) -> None:
    runner: Runner = request.getfixturevalue(kind)
    runner.execute(pack(COPY), no_model, texts("a"), time_limit_seconds=60)
    mark = secrets.token_hex(8)
    causes = []

    def execute() -> None:
        with pytest.raises(ProgramError) as caught:
            runner.execute(pack(SLEEPING_GRANDCHILD), no_model, texts(mark), time_limit_seconds=3)
        causes.append(caught.value.cause)

    thread = threading.Thread(target=execute)
    thread.start()
    assert wait_for(mark, present=True)
    thread.join()
    assert causes == ["program-timeout"]
    assert wait_for(mark, present=False)
    assert runner.execute(pack(COPY), no_model, texts("a"), time_limit_seconds=60).outputs == ("a",)


def test_a_time_limit_of_a_month_is_one(warm: Runner, no_model: Path) -> None:
    """Longer than the milliseconds that the system waits for at once."""
    limit = 31 * 24 * 3600
    assert warm.execute(pack(COPY), no_model, texts("a"), time_limit_seconds=limit).outputs == ("a",)


def test_a_program_that_ends_leaves_no_process(cold: Runner, no_model: Path) -> None:
    mark = secrets.token_hex(8)
    with pytest.raises(ProgramError):
        source = SLEEPING_GRANDCHILD.replace("time.sleep(300)\n", "time.sleep(1)\n")
        cold.execute(pack(source), no_model, texts(mark), time_limit_seconds=30)
    assert wait_for(mark, present=False)


def test_nothing_outlives_the_runner(cache_folder: Path, no_model: Path) -> None:
    mark = secrets.token_hex(8)
    script = (
        "import sys; from pathlib import Path; from pipeline.runner import Runner\n"
        "program, model, cache = map(Path, sys.argv[1:4])\n"
        "Runner(cache, warm=False).execute(program.read_bytes(), model, [{'text': input()}], time_limit_seconds=300)\n"
    )
    program = no_model.parent / "sleeping.pyz"
    program.write_bytes(pack(SLEEPING_GRANDCHILD))
    worker = subprocess.Popen(
        [sys.executable, "-c", script, str(program), str(no_model), str(cache_folder)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    assert worker.stdin is not None
    worker.stdin.write(f"{mark}\n".encode())
    worker.stdin.close()
    assert wait_for(mark, present=True)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert wait_for(mark, present=False)


def test_warm_equals_cold(cold: Runner, warm: Runner, model_folder: Path) -> None:
    inputs = texts("hello", "a longer question", "hi")
    runs = [
        runner.execute(pack(GENERATE), model_folder, inputs, time_limit_seconds=120) for runner in (cold, warm, warm)
    ]
    assert runs[0].outputs == runs[1].outputs == runs[2].outputs
    assert len(set(runs[0].outputs)) == 3
    assert {run.isolation for run in runs} == {"kernel"}


def test_only_packages_that_a_program_names_are_imported_before_it(cache_folder: Path, no_model: Path) -> None:
    """What a program does not name it does not wait for; what was imported once stays for those that come later."""
    loaded = 'result = [name for name in ("to" "rch", "pe" "ft") if name in sys.modules]'
    with Runner(cache_folder, warm=True) as runner:
        seen = [
            json.loads(runner.execute(answer(body), no_model, texts("a"), time_limit_seconds=60).outputs[0])
            for body in (loaded, f"# torch\n{loaded}", loaded, f"# peft\n{loaded}")
        ]
    assert seen == [[], ["torch"], ["torch"], ["torch", "peft"]]


WHAT_IS_SEEN = """
# A process that programs are forked from has imported numpy, torch, transformers and peft by now.
import os, threading
result = {
    "argv": sys.argv, "original": sys.orig_argv, "path": sys.path, "environment": dict(os.environ),
    "flags": str(sys.flags), "files": sorted(os.listdir()), "main": sorted(globals().keys() - {"items", "result"}),
    "file": __file__, "name": __name__, "descriptors": [n for n in range(64) if os.path.exists(f"/proc/self/fd/{n}")],
    "folder": os.path.basename(os.getcwd()), "process": os.getpid(), "threads": threading.active_count(),
    "encodings": [[s.encoding, s.errors, s.name, s.line_buffering] for s in (sys.stdin, sys.stdout, sys.stderr)],
}
"""


def test_nothing_around_a_program_tells_anything(
    cold: Runner, warm: Runner, no_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = answer(WHAT_IS_SEEN)
    first = json.loads(cold.execute(program, no_model, texts("a"), time_limit_seconds=30).outputs[0])
    other_model = tmp_path / "another-name"
    shutil.copytree(no_model, other_model)
    monkeypatch.setenv("TCX_ANSWER", "42")
    monkeypatch.chdir(tmp_path)
    second = json.loads(cold.execute(program, other_model, texts("a"), time_limit_seconds=30).outputs[0])
    forked = json.loads(warm.execute(program, other_model, texts("a"), time_limit_seconds=30).outputs[0])
    set_by_imports = {"TORCHINDUCTOR_CACHE_DIR"}
    for name in set_by_imports:
        forked["environment"].pop(name, None)
    assert first == second == forked
    assert first["argv"] == ["program.pyz", "model"]
    assert first["descriptors"] == [0, 1, 2]
    assert first["files"] == ["model", "program.pyz"]
    assert "TCX_ANSWER" not in first["environment"]


def test_a_crash_and_a_killed_zygote_leave_the_runner_usable(warm: Runner, no_model: Path) -> None:
    with pytest.raises(ProgramError) as caught:
        warm.execute(pack("import os; os.abort()"), no_model, texts("a"), time_limit_seconds=60)
    assert caught.value.cause == "program-crash"
    program = answer(
        "import builtins\nresult = hasattr(builtins, 'left')\nbuiltins.left = 1\nopen('left', 'w').close()"
    )
    for _ in range(2):
        assert warm.execute(program, no_model, texts("a"), time_limit_seconds=60).outputs == ("false",)
    zygote = warm._zygote
    assert zygote is not None
    os.kill(zygote._process.pid, signal.SIGKILL)
    assert warm.execute(pack(COPY), no_model, texts("a"), time_limit_seconds=60).outputs == ("a",)


def test_a_runner_that_is_never_used_writes_nothing(tmp_path: Path) -> None:
    with Runner(tmp_path / "cache", warm=True):
        pass
    assert not (tmp_path / "cache").exists()


def test_this_machine_has_the_reference_machine() -> None:
    assert REFERENCE_MACHINE
    for problem in check_reference_machine():
        assert problem.startswith("bitsandbytes")


def test_two_processes_may_build_the_view_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.runner import build_view; build_view(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    builders = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [builder.wait() for builder in builders] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [build_view(tmp_path).name]


def test_the_view_holds_the_closure_and_is_made_once(tmp_path: Path) -> None:
    view = build_view(tmp_path)
    assert build_view(tmp_path) == view
    assert [path.name for path in tmp_path.iterdir()] == [view.name]
    names = {path.name for path in view.iterdir()}
    assert {"torch", "transformers", "regex", "typing_extensions.py"} <= names
    assert not names & {"pipeline", "pyarrow", "pytest", "datasets", "pip"}
    assert set(closure()) >= set(PACKAGES) - {"bitsandbytes"}
    assert all(Path(target).exists() for target in view_targets(view))
