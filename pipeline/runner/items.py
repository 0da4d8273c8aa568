"""The lines that a program reads, and the lines that it has to write."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import ProgramError

_CAUSE = "program-output"


def write_inputs(path: Path, inputs: Sequence[Mapping[str, str]]) -> list[str]:
    """Write one line for each input, sorted by the length of its JSON text and then by that text.

    Ids are new in every execution and tell nothing of an item.

    Returns:
        The ids, in the order of `inputs`.
    """
    nonce = secrets.token_bytes(16)
    ids = [hashlib.sha256(nonce + position.to_bytes(8, "big")).hexdigest()[:16] for position in range(len(inputs))]
    texts = [json.dumps(dict(item)) for item in inputs]
    order = sorted(range(len(inputs)), key=lambda position: (len(texts[position]), texts[position]))
    with path.open("w", encoding="ascii") as file:
        for position in order:
            file.write(f'{{"id": "{ids[position]}", "input": {texts[position]}}}\n')
    return ids


def read_outputs(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """The outputs in the order of `ids`.

    Raises:
        ProgramError: not exactly one good line for each id.
    """
    outputs: dict[str, str] = {}
    known = frozenset(ids)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            item, output = _parse(line, number)
            if item not in known:
                raise ProgramError(_CAUSE, f"output line {number}: no input has the id {item!r}")
            if item in outputs:
                raise ProgramError(_CAUSE, f"output line {number}: a second output for the id {item!r}")
            outputs[item] = output
    if len(outputs) < len(ids):
        missing = len(ids) - len(outputs)
        raise ProgramError(_CAUSE, f"{missing} of {len(ids)} inputs have no output line")
    return tuple(outputs[item] for item in ids)


def _parse(line: bytes, number: int) -> tuple[str, str]:
    shown = repr(line[:80])
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise ProgramError(_CAUSE, f"output line {number} is not JSON in UTF-8: {shown}") from None
    match content:
        case {"id": str(item), "output": str(output)}:
            pass
        case _:
            raise ProgramError(_CAUSE, f'output line {number} is not {{"id": text, "output": text}}: {shown}')
    try:
        output.encode()
    except UnicodeEncodeError:
        raise ProgramError(_CAUSE, f"output line {number} holds half a surrogate pair: {shown}") from None
    return item, output
