"""What is read from the Hugging Face hub: commits of revisions, and data of tasks as plain files of one commit.

`data_folder` is the one way by which a task gets data of the hub. What a process may read is set once (`pin`), what it
has read is kept (`used_commits`). A local copy, named by TCX_DATA, stands in for the hub (`local_folder`). Importing
this loads no client of the hub.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.linked_files import LinkedFile
from pipeline.models.spec import COMMIT, cache_folder

OFFLINE = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Variables that keep the libraries of Hugging Face from trying the network."""
DATASETS = "datasets/"
"""Stands before the name of a data repository wherever it could be taken for a model, as in addresses of the hub."""
LOCAL_VARIABLE = "TCX_DATA"
"""Names a folder that holds copies of data repositories, each as `ORG/NAME/` with the files where the hub has them."""


@dataclass
class _Access:
    pins: Mapping[str, str] = field(default_factory=dict)
    may_download: bool = True
    used: dict[str, str] = field(default_factory=dict)
    resolved: dict[tuple[str, str | None], str] = field(default_factory=dict)


_access = _Access()


class _Note(NamedTuple):
    """What was fetched of a commit: the patterns that were asked for, and the sizes of the files that they gave."""

    patterns: tuple[str, ...]
    files: dict[str, int]


def pin(commits: Mapping[str, str], *, may_download: bool) -> None:
    """Set what this process reads from now on.

    Args:
        commits: data repository -> its commit.
        may_download: whether the network may be asked for what is not here, and for repositories without a pin.
    """
    _access.pins, _access.may_download = dict(commits), may_download


@contextmanager
def only(commits: Mapping[str, str]) -> Iterator[None]:
    """Let this process read these commits and nothing from the network, as `pin` does, for a while."""
    before = _access.pins, _access.may_download
    pin(commits, may_download=False)
    try:
        yield
    finally:
        _access.pins, _access.may_download = before


def data_commits(hub_commits: str | None) -> dict[str, str]:
    """Data repository -> commit, of the column `hub_commits`, which has those of models too."""
    commits: dict[str, str] = json.loads(hub_commits or "{}")
    return {name.removeprefix(DATASETS): commit for name, commit in commits.items() if name.startswith(DATASETS)}


def pinned(repo: str) -> str | None:
    """Commit of a data repository that this process must read, None where any will do."""
    return _access.pins.get(repo)


def used_commits() -> dict[str, str]:
    """Data repository -> commit, of all that this process has read."""
    return dict(_access.used)


def repos_of(task: object) -> tuple[str, ...] | None:
    """Data repositories that a task reads from the hub: its attribute `hub_repos` without those with a local copy.

    None where it has no such attribute.
    """
    repos: tuple[str, ...] | None = getattr(task, "hub_repos", None)
    return None if repos is None else tuple(repo for repo in repos if local_folder(repo) is None)


def local_folder(repo: str) -> Path | None:
    """The local copy of a data repository below the folder that TCX_DATA names, None where there is none.

    Raises:
        UserError: TCX_DATA names no folder.
    """
    named = os.environ.get(LOCAL_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(
            f"{LOCAL_VARIABLE} is {named!r}, which is no folder; it names one that holds copies of data repositories "
            "as ORG/NAME/..., or is not set"
        )
    folder = Path(named).resolve() / repo
    return folder if folder.is_dir() else None


def data_folder(
    repo: str, patterns: Sequence[str], revision: str | None = None, linked: Sequence[LinkedFile] = ()
) -> Path:
    """Folder with files of a data repository: its local copy, else one commit of it, fetched if it is not here.

    Args:
        repo: `ORG/NAME`.
        patterns: which files, such as `main/train-*.parquet`.
        revision: commit, branch or tag that is read where no commit is pinned; by default the current one.
        linked: files that the repository does not hold itself: its loading script reads them elsewhere.

    Raises:
        UserError: they are not here and may not or cannot be fetched.
    """
    local = local_folder(repo)
    if local is not None:
        return local
    commit = pinned(repo)
    if commit is None and not _access.may_download:
        raise UserError(f"no commit of the data {repo} is locked: `tcx prefetch GRID` locks and fetches it")
    if commit is None:
        # Once a process: a branch that moves meanwhile must not give one split of a task from another commit.
        asked = (repo, revision)
        commit = _access.resolved.get(asked) or resolve_commit(repo, revision, "dataset")
        _access.resolved[asked] = commit
    lacking = lacking_files(repo, commit)
    note = _note(repo, commit)
    if lacking or not set(patterns) <= set(note.patterns) or not {file.name for file in linked} <= set(note.files):
        if not _access.may_download:
            what = ", ".join(lacking or [*patterns, *(file.name for file in linked)])
            raise UserError(
                f"data {repo} at {commit[:12]}: {commit_folder(repo, commit)} lacks {what}; "
                "`tcx prefetch GRID`, where there is a network, fetches it"
            )
        _download(repo, commit, patterns, linked)
    _access.used[repo] = commit
    return commit_folder(repo, commit)


def commit_folder(repo: str, commit: str) -> Path:
    """Where the files of a data repository are, or would be."""
    return cache_folder() / "data" / repo.replace("/", "--") / commit


def files_of(repo: str, commit: str) -> dict[str, int]:
    """Path -> size of the files that were fetched, empty where none were."""
    folder = commit_folder(repo, commit)
    return {str(folder / name): size for name, size in _note(repo, commit).files.items()}


def lacking_files(repo: str, commit: str) -> list[str]:
    """Files that were fetched and are gone, or of another size now; `every file` where none were fetched."""
    files = files_of(repo, commit)
    return [Path(path).name for path in changed_files(files)] if files else ["every file"]


def changed_files(sizes: Mapping[str, int]) -> list[str]:
    """Those of these files that are gone, or are not of these sizes."""
    return [path for path, size in sizes.items() if not Path(path).is_file() or Path(path).stat().st_size != size]


def resolve_commit(repo: str, revision: str | None, kind: Literal["model", "dataset"]) -> str:
    """The commit that a revision of a repository is now, as the hub says.

    Raises:
        UserError: the hub has no such repository or revision, or does not answer.
    """
    with asking_hub(f"{kind} {repo}" + (f"@{revision}" if revision else "")):
        from huggingface_hub import HfApi

        commit = str(HfApi().repo_info(repo, repo_type=kind, revision=revision).sha)
    if not COMMIT.fullmatch(commit):
        raise UserError(f"{kind} {repo}: the hub gave {commit!r}, which is no commit of 40 hexadecimal digits")
    return commit


@contextmanager
def asking_hub(what: str) -> Iterator[None]:
    """Makes one clear error of all that a client of the hub can raise: its own, those of HTTP and of files."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what} cannot be fetched from the hub ({type(error).__name__}: {said}); "
            "check the name, the revision and the network"
        ) from error


def _download(repo: str, commit: str, patterns: Sequence[str], linked: Sequence[LinkedFile]) -> None:
    folder = commit_folder(repo, commit)
    # The client takes a file that is there for a good one.
    for path in changed_files(files_of(repo, commit)):
        Path(path).unlink(missing_ok=True)
    wanted = sorted({*patterns, *_note(repo, commit).patterns})
    if wanted:
        with asking_hub(f"data {repo} at {commit[:12]}"):
            from huggingface_hub import snapshot_download

            snapshot_download(repo, repo_type="dataset", revision=commit, allow_patterns=wanted, local_dir=folder)
    for file in linked:
        if not (folder / file.name).exists():
            file.fetch(folder)
    own_notes = folder / ".cache"  # of the client
    found = (path for path in folder.rglob("[!.]*") if own_notes not in path.parents)  # no file still being fetched
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise UserError(f"data {repo} at {commit[:12]}: it has no file {' or '.join(patterns)}")
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    note = _Note(patterns=tuple(wanted), files=files)
    write_atomically(_note_path(repo, commit), json.dumps(note._asdict(), indent=1).encode(), replace=True)


def _note_path(repo: str, commit: str) -> Path:
    """Written last: without it the files beside it may be a part of what was asked for."""
    return commit_folder(repo, commit).with_suffix(".json")


def _note(repo: str, commit: str) -> _Note:
    try:
        content = json.loads(_note_path(repo, commit).read_text())
        return _Note(tuple(content["patterns"]), dict(content["files"]))
    except (FileNotFoundError, ValueError, LookupError, TypeError):  # none, or damaged: what is asked for is fetched
        return _Note((), {})
