"""Cluster profiles: what a site wants, allows and bills, as YAML files that are merged.

Nothing of a site is in code. A value comes from the defaults below, then the shipped `slurm/NAME.yaml`, then the user's
file of the same name, then `--set`; each overrides the one before it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cluster import values
from pipeline.cluster.values import Billing
from pipeline.errors import GridError, UserError, unknown_name
from pipeline.yaml_values import Document, Place, is_whole, shown

DEFAULT_SOURCE = "default"
SET_SOURCE = "--set"


def _key(read: Callable[[Any], Any], about: str, default: Any = None) -> Any:
    return field(default=default, metadata={"about": about, "read": read})


def _entries(read: Callable[[str, Any], tuple[str, str | None]], about: str) -> Any:
    return field(default_factory=dict, metadata={"about": about, "read_entry": read})


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One cluster. Every key of a profile file is a field of the same name.

    Attributes:
        name: name of the shipped or the user's file.
        sources: where values were looked for, in the order in which they are merged.
        origins: key (`environment.NAME` for the entries of a mapping) -> source of its value; defaults are left out.
    """

    name: str
    sources: tuple[str, ...]
    origins: Mapping[str, str]

    description: str = _key(values.text, "one line on the cluster", "")
    required: tuple[str, ...] = _key(
        values.texts, "keys that the site wants from everybody and that have no default", ()
    )
    partition: str | None = _key(values.text, "partition; null: the default one of the site")
    account: str | None = _key(values.text, "account that pays")
    qos: str | None = _key(values.text, "quality of service")
    constraint: str | None = _key(values.text, "features that nodes must have")
    gpu_request: str = _key(
        values.gpu_request, "how the site wants GPUs asked for: gres, gpus-per-node or none", "gres"
    )
    gpu_type: str | None = _key(values.text, "type of GPU, as the site calls it; null: any")
    gpus_per_node: int | None = _key(values.whole(0), "GPUs of one node; null: not known, nothing is checked")
    cpus_per_gpu: int = _key(values.whole(1), "CPUs of a process that has a GPU", 4)
    memory_gib_per_gpu: float | None = _key(values.above_zero(), "memory of a process; null: what the site gives")
    max_memory_gib_per_gpu: float | None = _key(
        values.above_zero(), "most memory of a process, which is doubled when it was too little; null: never more"
    )
    whole_node: bool = _key(
        values.flag, "the site allocates or bills whole nodes, so all of a node is asked for", False
    )
    max_array_size: int | None = _key(values.whole(1), "array tasks per job (largest index + 1); null: ask Slurm")
    max_submit_jobs: int | None = _key(values.whole(1), "jobs in the queue, each array task counting; null: ask Slurm")
    max_walltime_minutes: int | None = _key(values.whole(1), "longest job; null: what the partition allows")
    ideal_walltime_minutes: int = _key(values.whole(1), "length that cells are packed to", 240)
    array_parallelism: int | None = _key(values.whole(1), "array tasks that run at the same time; null: all")
    offline: bool = _key(values.flag, "compute nodes reach no network: everything is fetched before", False)
    setup: tuple[str, ...] = _key(values.texts, "shell lines before the command; the first that fails ends the job", ())
    teardown: tuple[str, ...] = _key(values.texts, "shell lines after the command, whatever became of it", ())
    python: str | None = _key(values.text, "command that starts Python, for containers; null: this interpreter")
    environment: Mapping[str, str] = _entries(values.variable, "variables of the job; $NAME is expanded on the node")
    billing: Billing | None = _key(values.billing, "what the site charges: unit and per_node_hour or per_gpu_hour")  # noqa: RUF009 - a field
    signal_lead_seconds: int = _key(values.whole(1, 65535), "USR2 comes this long before the end of a job", 120)
    grace_seconds: int = _key(values.whole(1), "from TERM to KILL: KillWait, or the grace time of a preemption", 30)
    requeue: bool = _key(values.flag, "Slurm puts a job back into the queue after preemption or a broken node", True)
    exclude_nodes_hours: float = _key(values.hours_back, "how long a node that broke jobs is avoided", 24.0)
    options: Mapping[str, str] = _entries(values.option, "further options of sbatch by their long names")

    @property
    def missing(self) -> tuple[str, ...]:
        """Required keys that have no value yet."""
        return tuple(key for key in self.required if getattr(self, key) is None)

    @property
    def python_command(self) -> str:
        """Shell command that starts Python on a node."""
        return self.python or shlex.quote(sys.executable)

    @property
    def _own_file(self) -> Path:
        """Where keys of one's own are read from: the file itself, beside a shipped one another of the same name."""
        first = Path(self.sources[1])  # behind the defaults
        return user_file(self.name) if first.parent == shipped_folder() else first

    def check_complete(self) -> None:
        """Nothing can be submitted without what the site requires.

        Raises:
            UserError: a required key has no value; says how to give it.
        """
        if not self.missing:
            return
        given = " ".join(f"--set {key}=..." for key in self.missing)
        lines = ", ".join(f"'{key}: ...'" for key in self.missing)
        raise UserError(
            f"profile {self.name!r} needs {' and '.join(self.missing)}, which only you know: "
            f"give {given}, or write {lines} into {self._own_file}"
        )


KEYS = {item.name: item for item in dataclasses.fields(Profile) if "about" in item.metadata}
"""Key of a profile file -> field of `Profile`."""
MERGED_KEYS = {key: item.metadata["read_entry"] for key, item in KEYS.items() if "read_entry" in item.metadata}
"""Key whose entries are merged one by one -> what reads an entry; every other key is replaced as a whole."""
OPEN_KEYS = tuple(key for key, item in KEYS.items() if item.default is None)
"""Keys without a default: the ones that a site can require."""


def profile_names() -> list[str]:
    """Names of all profiles, the user's own included."""
    return sorted({path.stem for folder in (shipped_folder(), user_file("").parent) for path in folder.glob("*.yaml")})


def shipped_folder() -> Path:
    """Folder of the profiles that come with the package."""
    # In an installed wheel and in a checkout `slurm` lies inside of the package (there it is a link); a checkout on a
    # file system without links has it beside the package only.
    package = Path(__file__).resolve().parents[1]
    inside = package / "slurm"
    return (inside if inside.is_dir() else package.parent / "slurm").resolve()


def user_file(name: str) -> Path:
    """The user's own file of this profile, whether there is one or not."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "task-complexity" / "slurm" / f"{name}.yaml"


def load_profile(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Profile:
    """The profile of this name (shipped, user's own, or both merged) or of this file.

    Args:
        name_or_path: a name such as `narval`, or the path of a YAML file.
        overrides: values of `--set KEY=VALUE`; entries of mappings as `environment.NAME` and `options.NAME`.

    Raises:
        UserError: there is no such profile; near matches are named.
        GridError: every mistake of all files and overrides, in one message.
    """
    documents: list[_File | _Settings] = [_File(path) for path in _files(name_or_path)]
    if overrides:
        documents.append(_Settings(overrides))
    return _Merger(Path(name_or_path).name.removesuffix(".yaml"), documents).profile()


def _files(name: str) -> list[Path]:
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name).expanduser()
        if path.is_file():
            return [path]
        if os.sep in name:
            raise UserError(f"there is no profile file {name}")
        name = path.stem
    found = [path for path in (shipped_folder() / f"{name}.yaml", user_file(name)) if path.is_file()]
    if not found:
        message = unknown_name("profile", name, profile_names())
        raise UserError(f"{message}; or give the path of a file, or write {user_file(name)}")
    return found


class _File(Document):
    """One profile file, with its text."""

    def __init__(self, path: Path) -> None:
        try:
            self.text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the profile {path}: {error}") from error
        super().__init__(str(path), self.text)

    def has_digits(self, key: str, number: int) -> bool:
        """Whether the file says just this number; `0123` is the number 83 to YAML."""
        return re.search(rf"""\b{re.escape(key)}["']?\s*:\s*{number}\b""", self.text) is not None


class _Settings:
    """The values of `--set`, in the form of a document that has no lines."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        self.path = SET_SOURCE
        self.content: dict[str, Any] = {}
        self.mistakes: list[str] = []
        for key, text in overrides.items():
            head, dot, entry = key.partition(".")
            if dot and head in MERGED_KEYS:
                # Text as it is, so that `0123` stays what it is; `true` is an option without a value.
                self.content.setdefault(head, {})[entry] = True if text == "true" and head == "options" else text
            elif key in KEYS and KEYS[key].metadata.get("read") is values.text:
                self.content[key] = text or None
            else:
                self.content[key] = self._yaml(key, text)

    def wrong(self, place: Place, mistake: str) -> None:
        """Notes a mistake."""
        self.mistakes.append(mistake)

    def _yaml(self, key: str, text: str) -> Any:
        try:
            return Document(f"--set {key}", text).content
        except GridError as error:
            self.mistakes.extend(f"{key!r}: {mistake}" for mistake in error.mistakes)
            return None


class _Merger:
    """Merges documents to one profile; notes in each what is wrong with it."""

    def __init__(self, name: str, documents: list[_File | _Settings]) -> None:
        self.name = name
        self.documents = documents
        self.values: dict[str, Any] = {}
        self.setters: dict[str, _File | _Settings] = {}

    def profile(self) -> Profile:
        """The merged profile.

        Raises:
            GridError: every mistake of every document.
        """
        for document in self.documents:
            self._take(document)
        profile = Profile(
            name=self.name,
            sources=(DEFAULT_SOURCE, *(document.path for document in self.documents)),
            origins={key: document.path for key, document in self.setters.items()},
            **self.values,
        )
        for key, mistake in _disagreements(profile):
            # Blame who said it last. What is a default cannot be wrong, so one of the keys has a setter.
            self.setters.get(key, self.documents[-1]).wrong((key,), f"{key!r} {mistake}")
        wrong = [document for document in self.documents if document.mistakes]
        if len(wrong) == 1:
            raise GridError(wrong[0].path, wrong[0].mistakes)
        if wrong:
            mistakes = [f"{document.path}: {mistake}" for document in wrong for mistake in document.mistakes]
            raise GridError(f"profile {self.name!r}", mistakes)
        return profile

    def _take(self, document: _File | _Settings) -> None:
        if document.content is None:
            return
        if not isinstance(document.content, dict):
            document.wrong((), f"a profile is a mapping with keys such as {', '.join(list(KEYS)[:6])}")
            return
        for key, given in document.content.items():
            if key not in KEYS:
                document.wrong((key,), unknown_name("key", key, KEYS))
            elif given is None:
                self._forget(key)
            elif key in MERGED_KEYS:
                self._take_entries(document, key, given)
            else:
                self._take_value(document, key, given)

    def _take_value(self, document: _File | _Settings, key: str, given: Any) -> None:
        read = KEYS[key].metadata["read"]
        try:
            self.values[key] = read(given)
        except ValueError as error:
            document.wrong((key,), f"{key!r} {error}")
            return
        if read is values.text:
            self._check_digits(document, (key,), given)
        self.setters[key] = document

    def _check_digits(self, document: _File | _Settings, place: tuple[str, ...], given: Any) -> None:
        """What YAML made another text of must not pass as the account of somebody else."""
        if is_whole(given) and isinstance(document, _File) and not document.has_digits(place[-1], given):
            document.wrong(place, f"{place[-1]!r} must be in quotes: YAML reads these digits as the number {given}")

    def _take_entries(self, document: _File | _Settings, key: str, given: Any) -> None:
        if not isinstance(given, dict):
            document.wrong((key,), f"{key!r} must be a mapping of names to text; {shown(given)} given")
            return
        for name, value in given.items():
            try:
                plain, text = MERGED_KEYS[key](name, value)
            except ValueError as error:
                document.wrong((key, name), f"{key}: {error}")
                continue
            self._check_digits(document, (key, name), value)
            if text is None:
                self.values.get(key, {}).pop(plain, None)
                self.setters.pop(f"{key}.{plain}", None)
            else:
                self.values.setdefault(key, {})[plain] = text
                self.setters[f"{key}.{plain}"] = document

    def _forget(self, key: str) -> None:
        self.values.pop(key, None)
        for place in [place for place in self.setters if place.partition(".")[0] == key]:
            del self.setters[place]


def _disagreements(profile: Profile) -> Iterator[tuple[str, str]]:
    """Key and mistake of values that are well by themselves and not together."""
    for key in profile.required:
        if key not in OPEN_KEYS:
            yield "required", unknown_name("key that a site can require", key, OPEN_KEYS)
    if profile.gpu_request == "none" and profile.gpu_type is not None:
        yield "gpu_type", "does nothing where 'gpu_request' is none; leave it out, or set it to null"
    if profile.whole_node and profile.gpus_per_node is None:
        yield "whole_node", "needs 'gpus_per_node', so that all GPUs of a node are asked for and used"
    if profile.max_memory_gib_per_gpu is not None and profile.memory_gib_per_gpu is None:
        yield "max_memory_gib_per_gpu", "needs 'memory_gib_per_gpu', which is what is doubled"
    longest = profile.max_walltime_minutes
    if longest is not None and profile.ideal_walltime_minutes > longest:
        yield (
            "ideal_walltime_minutes",
            (f"is {profile.ideal_walltime_minutes}, above the {longest} of 'max_walltime_minutes'"),
        )
