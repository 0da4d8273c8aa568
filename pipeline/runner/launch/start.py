"""Entry point of the bare interpreter that the runner starts: one cold execution, or a zygote that forks warm ones."""

# Nothing that the program did not ask for is imported without need: no pathlib.

from __future__ import annotations

import json
import os
import runpy
import site
import sys
import types

from . import kernel, sandbox


def main() -> None:
    """Become a program; its finalisation is then that of this interpreter.

    Arguments: the folder that was put on `sys.path`, the process id of the runner, and a file with the `view` (its
    folder), its `targets`, and, for a cold execution, the `request`.
    """
    _, own_folder, runner, settings_path = sys.argv
    kernel.die_with_parent()
    if os.getppid() != int(runner):
        os._exit(1)
    sys.path.remove(own_folder)
    with open(settings_path) as file:
        settings = json.load(file)
    machine = sandbox.find_machine(settings["view"], settings["targets"])
    if "request" in settings:
        sandbox.enter(settings["request"], machine)
    else:
        _serve(machine)
    _run_program()


def _serve(machine: sandbox.Machine) -> None:
    """Import packages and fork children, as lines of standard input ask for; returns only in a child.

    Answers a list of packages with `ready`. Any other line is the request of a child: answers with its process id, and
    again with its exit code when it has ended. The child is reaped only when the next line comes, so its id is not
    given to another process while the runner may kill it.
    """
    replies = os.dup(1)
    os.dup2(2, 1)
    while line := _read_line():
        asked = json.loads(line)
        if isinstance(asked, list):
            _import_packages(asked)
            os.write(replies, b"ready\n")
            continue
        child = os.fork()
        if child == 0:
            kernel.die_with_parent()
            os.close(replies)
            sandbox.enter(asked, machine)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed()
            return
        os.write(replies, f"{child}\n".encode())
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        os.write(replies, b"ended\n")
        _read_line()
        _, status = os.waitpid(child, 0)
        os.write(replies, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _read_line() -> bytes:
    """One line of standard input, byte by byte: nothing may stay in a buffer that children would inherit."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _import_packages(names: list[str]) -> None:
    """Imports only; none of these packages starts a thread, which a fork would lose."""
    import gc
    import importlib

    gc.disable()  # it would look through what stays, over and over, for a fifth of the time
    for name in names:
        try:
            package = importlib.import_module(name)
            # These are imported when they are first asked for, the last with half of torch.
            for part in ("AutoModelForCausalLM", "AutoTokenizer", "PreTrainedModel") if name == "transformers" else ():
                getattr(package, part)
        except ImportError:
            pass
    gc.enable()
    gc.collect()
    gc.freeze()


def _run_program() -> None:
    """What `python program.pyz model` does, in this interpreter."""
    sys.argv = ["program.pyz", "model"]
    sys.orig_argv = ["python", *sys.argv]
    site.setquit()
    site.setcopyright()
    site.sethelper()
    for name in [name for name in sys.modules if name.partition(".")[0] == "launch"]:
        del sys.modules[name]
    main_module = types.ModuleType("__main__")
    vars(main_module)["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main_module
    sys.path.insert(0, "program.pyz")
    # The function that the interpreter itself calls for a zip file on its command line.
    vars(runpy)["_run_module_as_main"]("__main__", alter_argv=False)
