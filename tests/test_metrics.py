"""`pipeline.metrics` against sacrebleu's public scores, on real and on odd outputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.tasks.en_fr_software import TASK
from pipeline.tasks.scorers import bleu_statistics, chrf_statistics

STATISTICS: dict[str, Callable[[str, str], list[float]]] = {"bleu": bleu_statistics, "chrf++": chrf_statistics}


def corpus_score(metric: str, outputs: list[str], targets: list[str]) -> float:
    scorer = BLEU(force=True) if metric == "bleu" else CHRF(word_order=2)
    return float(scorer.corpus_score(outputs, [targets]).score)


def sentence_score(metric: str, output: str, target: str) -> float:
    if metric == "bleu":
        return float(sacrebleu.sentence_bleu(output, [target]).score)
    return float(sacrebleu.sentence_chrf(output, [target], word_order=2).score)


def statistics(metric: str, outputs: list[str], targets: list[str]) -> np.ndarray:
    return np.array([STATISTICS[metric](output, target) for output, target in zip(outputs, targets, strict=True)])


def real_corpora() -> dict[str, tuple[list[str], list[str]]]:
    """Outputs of several qualities for the first test sentences of a packaged task."""
    items = TASK.split("test")[:60]
    english = [item.input["en"] for item in items]
    french = [item.target for item in items]
    cut = [" ".join(target.split()[: len(target.split()) // 2]) for target in french]
    swapped = [" ".join(reversed(target.split())) for target in french]
    return {
        "right": (french, french),
        "copied": (english, french),
        "cut": (cut, french),
        "swapped": (swapped, french),
        "shifted": (french[1:] + french[:1], french),
        "some empty": (["" if index % 3 else target for index, target in enumerate(french)], french),
    }


ODD = {
    "all empty": (["", ""], ["Bonjour le monde", "Au revoir"]),
    "blanks only": ([" \t "], ["Bonjour le monde"]),
    "no match": (["xyz qrs tuv wvw"], ["Bonjour le beau monde"]),
    "one word": (["Bonjour"], ["Bonjour"]),
    "three words": (["un deux trois"], ["un deux trois"]),
    "unigrams only": (["a c e g b d"], ["a b c d e f"]),
    "long output": (["oui " * 50], ["oui oui"]),
    "short output": (["oui"], ["oui " * 50]),
    "empty target among others": (["mot", "Bonjour le monde entier"], ["", "Bonjour le monde entier"]),
    "looks tokenized": (["Bonjour le monde ."] * 120, ["Bonjour le monde."] * 120),
    "punctuation": (["(l'été), 3.5 % ! ?"], ["(l'été), 3,5% !"]),
    "other scripts": (["北京 и Москва é"], ["北京 и Москва é"]),
}


@pytest.mark.parametrize("metric", ["bleu", "chrf++"])
class TestAgainstSacrebleu:
    """Equal to 1e-9, on a corpus and on each sentence."""

    @pytest.mark.parametrize("name", ["right", "copied", "cut", "swapped", "shifted", "some empty"])
    def test_real_outputs(self, metric: str, name: str) -> None:
        outputs, targets = real_corpora()[name]
        self.check(metric, outputs, targets)

    @pytest.mark.parametrize("name", list(ODD))
    def test_odd_outputs(self, metric: str, name: str) -> None:
        outputs, targets = ODD[name]
        self.check(metric, outputs, targets)

    def check(self, metric: str, outputs: list[str], targets: list[str]) -> None:
        values = statistics(metric, outputs, targets)
        performance = METRICS[metric].aggregate(values.sum(axis=0))
        assert performance == pytest.approx(corpus_score(metric, outputs, targets), abs=1e-9)
        expected = [sentence_score(metric, output, target) for output, target in zip(outputs, targets, strict=True)]
        np.testing.assert_allclose(METRICS[metric].per_item(values), expected, atol=1e-9, rtol=0)

    def test_bootstrap_is_one_call(self, metric: str) -> None:
        """Samples on leading axes give what sacrebleu gives for each sampled corpus."""
        outputs, targets = real_corpora()["cut"]
        samples = np.random.default_rng(0).integers(len(outputs), size=(3, 4, len(outputs)))
        performance = METRICS[metric].aggregate(statistics(metric, outputs, targets)[samples].sum(axis=-2))
        assert performance.shape == (3, 4)
        for index in np.ndindex(3, 4):
            sample = samples[index]
            expected = corpus_score(metric, [outputs[i] for i in sample], [targets[i] for i in sample])
            assert performance[index] == pytest.approx(expected, abs=1e-9)

    def test_signature(self, metric: str) -> None:
        scorer = BLEU() if metric == "bleu" else CHRF(word_order=2)
        name = scorer.corpus_score(["a"], [["a"]]).name
        assert METRICS[metric].signature == f"{name}|{scorer.get_signature()}"


def test_accuracy() -> None:
    accuracy = METRICS["accuracy"]
    assert accuracy.is_proportion
    values = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert accuracy.aggregate(values.sum(axis=0)) == 75.0
    assert accuracy.per_item(values).tolist() == [100.0, 0.0, 100.0, 100.0]
    assert accuracy.aggregate([[3, 4], [0, 5]]).tolist() == [75.0, 0.0]


@pytest.mark.parametrize("name", list(METRICS))
def test_nothing_to_score_is_an_error_and_not_zero(name: str) -> None:
    metric = METRICS[name]
    count = len(metric.statistic_names)
    some = np.ones(count)
    with pytest.raises(UserError, match="no performance without items"):
        metric.aggregate(np.zeros(count))
    with pytest.raises(UserError, match="no performance without items"):
        metric.aggregate(np.stack([some, np.zeros(count)]))
    with pytest.raises(UserError, match="no performance without items"):
        metric.aggregate(np.zeros((0, count)))
    with pytest.raises(UserError, match="with items"):
        metric.per_item(np.zeros((0, count)))


@pytest.mark.parametrize("name", list(METRICS))
def test_wrong_statistics_are_refused(name: str) -> None:
    metric = METRICS[name]
    count = len(metric.statistic_names)
    with pytest.raises(UserError, match=f"expected {count} statistics"):
        metric.aggregate(np.ones(count + 1))
    for value in (np.nan, np.inf, -1.0):
        with pytest.raises(UserError, match="finite"):
            metric.aggregate(np.full(count, value))


def test_needs_numpy_only() -> None:
    """Reducing happens where neither torch nor sacrebleu is installed."""
    code = "import sys, pipeline.metrics; print({'torch', 'sacrebleu', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
