"""One test for each attempt to reach what the reference machine does not have; the kernel alone has to refuse it."""

from __future__ import annotations

import datetime
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from pipeline.runner import Runner

from .conftest import answer

# What an attempt opens outside, where nothing stops it, is left to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SECRET = "the answer is 42 "


@pytest.fixture
def kernel_only(warm: Runner, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(warm, "_use_audit", False)
    return warm


@pytest.fixture
def audit_only(cold: Runner, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(cold, "_use_kernel", False)
    return cold


@pytest.fixture(scope="module")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that a program would like to read, each in a format of its own."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models

    folder = tmp_path_factory.mktemp("secrets")
    (folder / "text.txt").write_text(SECRET)
    (folder / "bytes.bin").write_bytes(bytes(64))
    save_file({"a": torch.zeros(4)}, folder / "a.safetensors")
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    return folder


def attempt(runner: Runner, no_model: Path, source: str, *, control: bool = True) -> tuple[bool, str]:
    """Whether a program reaches its aim (sets `reached`), and what it was told.

    Args:
        control: first see that the same source does reach its aim outside.
    """
    if control:
        outside: dict[str, object] = {}
        exec(source, outside)
        assert "reached" in outside
    indented = "\n".join("    " + line for line in source.splitlines())
    body = (
        f"try:\n{indented}\n    result = [True, '']\nexcept BaseException as error:\n    result = [False, repr(error)]"
    )
    execution = runner.execute(answer(body), no_model, [{"text": ""}], time_limit_seconds=60)
    assert execution.isolation == ("kernel" if runner._use_kernel else "audit")
    reached, told = json.loads(execution.outputs[0])
    return reached, told


@pytest.mark.parametrize("name", ["pipeline", "pyarrow", "sacrebleu", "pytest"])
def test_import_of_another_package(kernel_only: Runner, no_model: Path, name: str) -> None:
    reached, told = attempt(kernel_only, no_model, f"import {name} as reached")
    assert not reached
    assert "ModuleNotFoundError" in told


def test_import_by_path(kernel_only: Runner, no_model: Path) -> None:
    folder = str(Path(pipeline.__file__).parents[1])
    source = f"import sys\nsys.path.insert(0, {folder!r})\nimport pipeline.errors as reached"
    assert not attempt(kernel_only, no_model, source)[0]


def test_open_of_system_and_repository_files(kernel_only: Runner, no_model: Path, secrets_folder: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=Path.home(), prefix=".program-test-") as home_file:
        for path in ("/etc/passwd", pipeline.__file__, str(secrets_folder / "text.txt"), home_file.name):
            reached, told = attempt(kernel_only, no_model, f"reached = open({path!r}).read()")
            assert not reached
            assert "PermissionError" in told


def test_open_through_a_link_and_a_folder_descriptor(kernel_only: Runner, no_model: Path, secrets_folder: Path) -> None:
    path = str(secrets_folder / "text.txt")
    link = "import os, uuid\nname = os.path.join(os.environ.get('HOME'), '.program-test-' + uuid.uuid4().hex)\n"
    follow = f"os.symlink({path!r}, name)\ntext = open(name).read()\nos.remove(name)\nreached = text"
    assert not attempt(kernel_only, no_model, link + follow)[0]
    source = f"import os\nreached = os.open({str(secrets_folder)!r}, os.O_RDONLY | os.O_DIRECTORY)"
    assert not attempt(kernel_only, no_model, source)[0]


NATIVE = {
    "torch.from_file": "import torch\nreached = torch.from_file('{folder}/bytes.bin', size=8).tolist()",
    "safetensors": "from safetensors import safe_open\nreached = safe_open('{folder}/a.safetensors', 'pt').keys()",
    "tokenizers": "from tokenizers import Tokenizer\nreached = Tokenizer.from_file('{folder}/tokenizer.json')",
    "ctypes": "import ctypes\nlibrary = ctypes.CDLL(None)\nfile = library.open(b'{folder}/text.txt', 0)\n"
    "if file < 0: raise OSError(file)\nreached = file",
}


@pytest.mark.parametrize("name", NATIVE)
def test_open_by_native_code(kernel_only: Runner, no_model: Path, secrets_folder: Path, name: str) -> None:
    assert not attempt(kernel_only, no_model, NATIVE[name].replace("{folder}", str(secrets_folder)))[0]


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()


def test_tcp_connection(kernel_only: Runner, no_model: Path, server: tuple[str, int]) -> None:
    assert not attempt(kernel_only, no_model, f"import socket\nreached = socket.create_connection({server})")[0]


def test_udp_packet(kernel_only: Runner, no_model: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        send = "import socket\nreached = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'a', {})"
        assert not attempt(kernel_only, no_model, send.format(listening.getsockname()))[0]
        assert listening.recv(10) == b"a"
        with pytest.raises(BlockingIOError):
            listening.recv(10)


def test_tcp_store(kernel_only: Runner, no_model: Path) -> None:
    distributed = pytest.importorskip("torch.distributed")
    two_seconds = datetime.timedelta(seconds=2)
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=two_seconds)
    store.set("secret", SECRET)
    source = (
        "import datetime, torch.distributed\n"
        "limit = datetime.timedelta(seconds=2)\n"
        f"store = torch.distributed.TCPStore('127.0.0.1', {store.port}, is_master=False, timeout=limit)\n"
        "reached = store.get('secret')"
    )
    assert not attempt(kernel_only, no_model, source)[0]


@pytest.mark.parametrize("abstract", [True, False])
def test_unix_socket(kernel_only: Runner, no_model: Path, tmp_path: Path, abstract: bool) -> None:
    address = f"\0program-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        source = f"import socket\ncaller = socket.socket(socket.AF_UNIX)\nreached = [caller.connect({address!r})]"
        assert not attempt(kernel_only, no_model, source)[0]


def test_write_outside_the_scratch_folder(kernel_only: Runner, no_model: Path, tmp_path: Path) -> None:
    paths = [f"{tmp_path}/new", "/tmp/program-test", "/dev/shm/program-test", "../new", "model/new"]
    source = (
        f"written = []\nfor path in {paths}:\n    try:\n        written += [open(path, 'w') and path]\n"
        "    except PermissionError:\n        pass\nreached = 1 / len(written)"
    )
    assert attempt(kernel_only, no_model, source, control=False) == (False, "ZeroDivisionError('division by zero')")
    assert attempt(kernel_only, no_model, "open('new', 'w').write('a')\nreached = open('new').read()", control=False)[0]


def test_times_modes_and_attributes_of_other_files_stay(
    kernel_only: Runner, no_model: Path, secrets_folder: Path
) -> None:
    path = secrets_folder / "text.txt"
    before = path.stat()
    source = f"import os\nos.utime({str(path)!r}, (1, 1))\nos.chmod({str(path)!r}, 0)\nreached = 1"
    attempt(kernel_only, no_model, source, control=False)
    assert (path.stat().st_mtime_ns, path.stat().st_mode) == (before.st_mtime_ns, before.st_mode)
    assert not attempt(kernel_only, no_model, f"import os\nreached = os.listxattr({str(path)!r})")[0]


@pytest.mark.parametrize("name", ["environ", "mem", "maps", "cmdline"])
def test_other_processes(kernel_only: Runner, no_model: Path, name: str) -> None:
    source = f"reached = open('/proc/{os.getpid()}/{name}', 'rb')\nreached.read(0)"
    assert not attempt(kernel_only, no_model, source)[0]


def test_signals_to_other_processes(kernel_only: Runner, no_model: Path) -> None:
    assert not attempt(kernel_only, no_model, f"import os\nreached = [os.kill({os.getpid()}, 0)]")[0]


def test_a_started_process_is_held_too(kernel_only: Runner, no_model: Path, secrets_folder: Path) -> None:
    read = f"print(open({str(secrets_folder / 'text.txt')!r}).read())"
    source = f"import subprocess, sys\nreached = subprocess.check_output([sys.executable, '-c', {read!r}])"
    assert not attempt(kernel_only, no_model, source)[0]


def test_variables_of_the_runner(kernel_only: Runner, no_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCX_ANSWER", "42")
    assert not attempt(kernel_only, no_model, "import os\nreached = os.environ['TCX_ANSWER']")[0]


def test_cold_run_is_held_by_the_kernel_too(
    cold: Runner, no_model: Path, secrets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold, "_use_audit", False)
    assert not attempt(cold, no_model, f"reached = open({str(secrets_folder / 'text.txt')!r}).read()")[0]


AUDITED = {
    "open('/etc/passwd')": "not part of the reference machine",
    "__import__('os').listdir('/')": "not part of the reference machine",
    "__import__('os').mkdir('/tmp/program-test')": "not part of the reference machine",
    "__import__('socket').create_connection(('127.0.0.1', 9))": "no network",
    "__import__('os').system('true')": "may not start other programs",
}


@pytest.mark.parametrize("deed", AUDITED)
def test_audit_hook_refuses_with_a_clear_message(audit_only: Runner, no_model: Path, deed: str) -> None:
    reached, told = attempt(audit_only, no_model, f"reached = {deed}", control=False)
    assert not reached
    assert AUDITED[deed] in told


def test_audit_hook_allows_the_scratch_folder_and_the_model(audit_only: Runner, model_folder: Path) -> None:
    source = (
        "import os, tempfile\nos.mkdir('new')\nopen('new/file', 'w').write('a')\nos.rename('new/file', 'file')\n"
        "tempfile.TemporaryFile().close()\nos.listdir('new')\nreached = open('model/config.json').read()"
    )
    assert attempt(audit_only, model_folder, source, control=False) == (True, "")
