"""Task `en-fr-software`: the pairs of the message catalogues, and the scorer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import pytest

from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.protocols import SPLITS, Example, Split
from pipeline.tasks import en_fr_software
from pipeline.tasks.en_fr_software import TASK
from pipeline.tasks.splits import normalised

Digest = Callable[[Sequence[Example]], str]
VERSIONS = {"indico": "3.2.9", "wagtail": "8.0.1", "django": "5.2"}
DIGESTS: dict[Split, tuple[int, str]] = {
    "train": (1316, "ea3214d7f3c6079a"),
    "validation": (200, "ab86e80bd1bd3152"),
    "test": (300, "2f13e8eb8631f1a8"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_data_have_not_changed(name: Split, digest: Digest) -> None:
    installed = {package: version(package) for package in VERSIONS}
    items = TASK.split(name)
    assert (len(items), digest(items)) == DIGESTS[name], (
        f"the items changed (digests made with {VERSIONS}, installed {installed}): raise the version of the task"
    )


def test_no_sentence_occurs_twice() -> None:
    items = [item for name in SPLITS for item in TASK.split(name)]
    assert len({normalised(item.input["en"]) for item in items}) == len(items)
    assert len({normalised(item.target) for item in items}) == len(items)


def test_no_close_relatives_in_two_splits() -> None:
    words = {name: [set(normalised(item.input["en"]).split()) for item in TASK.split(name)] for name in SPLITS}
    for scored, other in (("test", "train"), ("test", "validation"), ("validation", "train")):
        nearest = max(len(a & b) / len(a | b) for a in words[scored] for b in words[other])  # type: ignore[index]
        assert nearest < 0.75


def test_pairs_are_plain_sentences() -> None:
    for name in SPLITS:
        for item in TASK.split(name):
            english, french = item.input["en"], item.target
            assert 5 <= len(english.split()) <= 40
            assert not set("%{}<>\n\t’\xa0") & set(english + french)
            assert "://" not in english + french
            assert (english, french) == (english.strip(), french.strip())
            assert normalised(english) != normalised(french)


@pytest.mark.parametrize("name", SPLITS)
def test_prefixes_are_fair(name: Split) -> None:
    """The mean length of the first fifth is that of all pairs, to 4 standard errors."""
    lengths = [len(item.input["en"].split()) for split in SPLITS for item in TASK.split(split)]
    mean = sum(lengths) / len(lengths)
    deviation = (sum((length - mean) ** 2 for length in lengths) / len(lengths)) ** 0.5
    items = TASK.split(name)
    for part in (items[: len(items) // 5], items):
        found = sum(len(item.input["en"].split()) for item in part) / len(part)
        assert abs(found - mean) < 4 * deviation / len(part) ** 0.5


def test_score() -> None:
    example = Example(input={"en": "The file was saved."}, target="Le fichier a été enregistré.")

    def score(output: str) -> dict[str, float]:
        statistics = TASK.score(output, example)
        assert tuple(statistics) == TASK.metrics
        return {name: float(METRICS[name].per_item([statistics[name]])[0]) for name in TASK.metrics}

    assert score(" Le fichier a été enregistré.\nEnglish: More") == pytest.approx({"bleu": 100, "chrf++": 100})
    assert score("") == {"bleu": 0, "chrf++": 0}
    assert 0 < score("Le fichier est enregistré.")["chrf++"] < 100


def test_floor_of_copying() -> None:
    """What a program reaches that repeats the English sentence."""
    sums = [0.0] * 10
    for item in TASK.split("test"):
        sums = [a + b for a, b in zip(sums, TASK.score(item.input["en"], item)["bleu"], strict=True)]
    assert float(METRICS["bleu"].aggregate(sums)) < 5


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(en_fr_software, "PACKAGES", ("indico", "no_such_package"))
    with pytest.raises(UserError, match="no_such_package is not installed: pip install --no-deps"):
        list(en_fr_software._catalogue_pairs())


def test_reading_imports_none_of_the_packages() -> None:
    code = (
        "import sys\nfrom pipeline.tasks.en_fr_software import TASK\n"
        "assert not {'polib', 'sacrebleu'} & set(sys.modules)\nTASK.split('test')\n"
        "print({'indico', 'wagtail', 'django'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
