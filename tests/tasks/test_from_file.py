"""Tasks of the user's own, as YAML files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import catalog
from pipeline.catalog import TASKS
from pipeline.errors import UserError
from pipeline.protocols import Example
from pipeline.tasks.from_file import read_task

GOOD = """
name: capitals
licence: CC0-1.0
template: "Country: {country}\\nCapital:"
target: capital
train: train.jsonl
validation: validation.jsonl
test: test.parquet
metrics: accuracy
scorer: exact
max_new_tokens: 8
instruction: Name the capital of the country.
"""

ROWS = {
    "train": [{"country": f"Land {n}", "capital": f"City {n}", "note": "unused"} for n in range(20)],
    "validation": [{"country": "Italy", "capital": "Rome"}, {"country": "Spain", "capital": "Madrid"}],
    "test": [{"country": "France", "capital": "Paris"}, {"country": "Japan", "capital": "Tokyo"}],
}


def write(folder: Path, text: str = GOOD, rows: dict[str, list[dict[str, Any]]] = ROWS) -> Path:
    folder.mkdir(exist_ok=True)
    for split in ("train", "validation"):
        content = "\n".join(json.dumps(row) for row in rows[split])
        (folder / f"{split}.jsonl").write_text(content + "\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows["test"]), folder / "test.parquet")
    path = folder / "capitals.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good_file(tmp_path: Path) -> None:
    task = read_task(write(tmp_path))
    assert (task.name, task.metrics, task.max_new_tokens, task.licence) == ("capitals", ("accuracy",), 8, "CC0-1.0")
    assert (task.stop, task.copy_field) == ("\n", "country")
    assert task.instruction == "Name the capital of the country.\n"
    assert task.template.format(**task.split("test")[0].input).endswith("\nCapital:")
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [20, 2, 2]
    assert Example(input={"country": "France"}, target="Paris") in task.split("test")
    assert [item.input["country"] for item in task.split("train")] != [row["country"] for row in ROWS["train"]]


def test_catalog_takes_the_path(tmp_path: Path) -> None:
    assert catalog.task(str(write(tmp_path))).name == "capitals"


@pytest.mark.parametrize(
    ("scorer", "output", "correct"),
    [
        ("exact", " paris.\nCountry: more", 1),
        ("exact", "It is Paris", 0),
        ("contains", "It is Paris, I think", 1),
        ("contains", "Parisian", 0),
        ("contains", "no\nParis", 0),
        ("exact", "", 0),
    ],
)
def test_scorers(tmp_path: Path, scorer: str, output: str, correct: int) -> None:
    task = read_task(write(tmp_path, GOOD.replace("scorer: exact", f"scorer: {scorer}")))
    assert task.score(output, Example(input={}, target="Paris")) == {"accuracy": [correct, 1]}


def test_number_scorer(tmp_path: Path) -> None:
    rows = {split: [row | {"capital": n} for n, row in enumerate(ROWS[split])] for split in ROWS}
    task = read_task(write(tmp_path, GOOD.replace("scorer: exact", "scorer: number"), rows))
    example = Example(input={}, target="1200")
    assert task.score("That makes $1,200.00.", example) == {"accuracy": [1, 1]}
    assert task.score("That makes 12.", example) == {"accuracy": [0, 1]}
    with pytest.raises(UserError, match="finds no number in the target 'Paris'"):
        read_task(write(tmp_path, GOOD.replace("scorer: exact", "scorer: number")))


def test_corpus_metrics(tmp_path: Path) -> None:
    text = GOOD.replace("metrics: accuracy\nscorer: exact", "metrics: [bleu, chrf++]")
    task = read_task(write(tmp_path, text))
    statistics = task.score("Paris\nmore", task.split("test")[0])
    assert {name: len(values) for name, values in statistics.items()} == {"bleu": 10, "chrf++": 24}


class TestVersion:
    """The version changes when a score of the same program could, and only then."""

    def test_same_content_same_version(self, tmp_path: Path) -> None:
        first = read_task(write(tmp_path / "a")).version
        turned = {split: rows[::-1] for split, rows in ROWS.items()}
        assert read_task(write(tmp_path / "b", GOOD + "# a remark\n", turned)).version == first
        assert 0 <= first < 2**32

    def test_other_data_other_version(self, tmp_path: Path) -> None:
        first = read_task(write(tmp_path / "a")).version
        for split in ROWS:
            changed = ROWS | {split: [*ROWS[split][:-1], ROWS[split][-1] | {"capital": "Elsewhere"}]}
            assert read_task(write(tmp_path / "b", rows=changed)).version != first

    @pytest.mark.parametrize("old", ["exact", "Capital:", "tokens: 8", "Name the capital"])
    def test_other_settings_other_version(self, tmp_path: Path, old: str) -> None:
        new = {"exact": "contains", "Capital:": "City:", "tokens: 8": "tokens: 9", "Name the capital": "Give the city"}
        first = read_task(write(tmp_path / "a")).version
        assert read_task(write(tmp_path / "b", GOOD.replace(old, new[old]))).version != first


def test_six_mistakes_in_one_message(tmp_path: Path) -> None:
    text = (
        GOOD.replace("name: capitals", "name: gsm8k")
        .replace("licence:", "license:")
        .replace("validation.jsonl", "validatoin.jsonl")
        .replace("metrics: accuracy", "metrics: acuracy")
        .replace("tokens: 8", "tokens: many")
    )
    with pytest.raises(UserError) as caught:
        read_task(write(tmp_path, text), taken=TASKS)
    message = str(caught.value)
    assert "capitals.yaml: 6 mistakes" in message
    for words in (
        "'gsm8k' is the name of a packaged task",
        "unknown key 'license'; did you mean licence",
        "missing: licence",
        "validatoin.jsonl",
        "unknown metric 'acuracy'; did you mean accuracy",
        "max_new_tokens: a whole number from 1 to 1,000,000 is wanted; the text 'many' given",
    ):
        assert words in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Country: {", "Country }}: {", "before its first field it may hold no doubled braces"),
        ("Country: {", "A task.\\nCountry: {", r"before its first field it may not hold the stop text '\n'"),
        ("{country}\\nCapital:", "{contry}\\nCapital:", "no text or whole number in the column 'contry'"),
        ("Country: {country}\\nCapital:", "{country} has", "must start with literal text"),
        ("Country: {country}", " {country}", "must start with literal text"),
        ("Country: {country}", "Country:", "holds no field"),
        ("Country: {country}", "{capital} {country}", "gives away the target column"),
        ("Country: {country}", "Country: {country!r}", "plain names of columns"),
        ("Country: {country}", "Country: {country", "template: "),
        ("scorer: exact", "scorer: exakt", "did you mean exact"),
        ("scorer: exact\n", "", "needs one of exact, number, contains"),
        ("metrics: accuracy", "metrics: bleu", "only the metric accuracy has one"),
        ("metrics: accuracy", "metrics: []", "an empty list given"),
        ("metrics: accuracy", "metrics: [{a: 1}]", "unknown metric"),
        ("scorer: exact", "scorer: [exact]", "unknown scorer"),
        ("scorer: exact", "scorer: exact\ncopy_field: city", "unknown field 'city'"),
        ("scorer: exact", "scorer: exact\nstop: City", "stop: 'City' occurs in the train item"),
        ("max_new_tokens: 8", "max_new_tokens: 1000001", "from 1 to 1,000,000 is wanted; 1000001 given"),
        ("scorer: exact", "scorer: exact\nscorer: exact", "given twice"),
        ("name: capitals", "name: Capital Cities", "may hold only small letters"),
        ("name: capitals", "name: 7", "text is wanted"),
        ("name: capitals", f"name: {'x' * 101}", "at most 100"),
        ("test.parquet", "test.csv", "neither .jsonl"),
        ("test.parquet", "train.jsonl", "inputs also occur in test"),
        ("test.parquet", "capitals.jsonl", "No such file"),
    ],
)
def test_each_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_task(write(tmp_path, GOOD.replace(old, new)))
    assert words in str(caught.value)


def test_a_target_with_the_stop_text_is_never_given(tmp_path: Path) -> None:
    rows = ROWS | {"validation": [{"country": "Brazil", "capital": "Old\nNew"}]}
    with pytest.raises(UserError, match=r"stop: .* occurs in the validation target .*, which no answer can give"):
        read_task(write(tmp_path, rows=rows))
    rows["validation"][0]["capital"] = "New\n"  # answers, too, are compared without blanks around them
    assert len(read_task(write(tmp_path, rows=rows)).split("validation")) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "line 21 of train.jsonl is not JSON"), ("[1]", "line 21 of train.jsonl is no JSON object"),
     ("[" * 100_000, "line 21 of train.jsonl is not JSON"),
     ('{"country": null, "capital": "x"}', "row 21 of train.jsonl"),
     (r'{"country": "\ud800", "capital": "x"}', "row 21 of train.jsonl has half of a character .* in 'country'")],
)  # fmt: skip
def test_broken_rows(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path)
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(UserError, match=words):
        read_task(path)


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_task(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_task(write(tmp_path, "a: [1"))
    with pytest.raises(UserError, match="holds no keys"):
        read_task(write(tmp_path, ""))


def test_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/tasks.md").read_text(encoding="utf-8")
    script = page.split("```sh\n")[1].split("```")[0]
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    task = read_task(tmp_path / "capitals.yaml")
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [3, 2, 2]

    code = page.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    items = names["TASK"].split("test")
    assert [names["TASK"].score(item.target, item) for item in items] == [{"accuracy": [1, 1]}] * 2
