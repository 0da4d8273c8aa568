"""Grid files: what they expand to, and what is said about their mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cell import Cell, Evaluation
from pipeline.errors import GridError, UserError
from pipeline.expansion import all_parameters
from pipeline.grid import Grid, cells, find_grid, read_grid

ReadText = Callable[[str], Grid]

HEAD = "study: demo\ntasks: [chain-sum]\nmodels: [smollm2-135m]\n"
FULL = """\
study: demo
tasks: [chain-sum, gsm8k]
models: [smollm2-135m, smollm2-135m@random-6]
programs:
  - {family: baseline}
  - {family: icl}
  - {family: subset, lr: [1.0e-4, 1.0e-5], epochs: [1, 2, 3]}
  - {family: subset, examples: [8, 64, 512], epochs: 3}
  - {family: lora, lr: 1.0e-4, budgets: [1MiB]}
budgets: [1KiB, 16KiB, 256KiB]
seeds: [1, 2, 3]
evaluation: {validation_items: 256, test_items: all, execute: all}
"""


@pytest.fixture
def read(tmp_path: Path) -> ReadText:
    def read_text(text: str) -> Grid:
        path = tmp_path / "grid.yaml"
        path.write_text(text, encoding="utf-8")
        return read_grid(path)

    return read_text


def programs(*entries: str, rest: str = "budgets: [1KiB]\n") -> str:
    return HEAD + "programs:\n" + "".join(f"  - {entry}\n" for entry in entries) + rest


def mistakes(read: ReadText, text: str) -> tuple[str, ...]:
    with pytest.raises(GridError) as caught:
        read(text)
    return caught.value.mistakes


def planned(grid: Grid) -> list[Cell]:
    return cells(grid, {})


def test_a_list_multiplies(read: ReadText) -> None:
    grid = read(FULL)
    found = planned(grid)
    per_task_and_model = {"baseline": 1, "icl": 3 * 3, "subset": 2 * 3 * 3 * 3 + 3 * 3, "lora": 3}
    assert Counter(cell.family for cell in found) == {name: 4 * count for name, count in per_task_and_model.items()}
    assert len(
        {(c.task, c.model, c.family, tuple(c.parameters.items()), c.budget_bytes, c.seed) for c in found}
    ) == len(found)
    assert grid.evaluation == Evaluation(validation_items=256, test_items=None)
    assert all(cell.model_identity is None and cell.cell_id is None for cell in found)


def test_expansion_is_pure_and_takes_identities(read: ReadText) -> None:
    grid = read(FULL)
    identities = {"smollm2-135m": "a" * 64}
    assert cells(grid, identities) == cells(grid, identities)
    by_model = {cell.model: cell.model_identity for cell in cells(grid, identities)}
    assert by_model == {"smollm2-135m": "a" * 64, "smollm2-135m@random-6": None}


def test_families_without_size_ignore_budgets_and_those_without_chance_ignore_seeds(read: ReadText) -> None:
    grid = read(programs("{family: baseline}", "{family: trivial, reply: [copy, constant]}", rest="seeds: [1, 2]"))
    assert [(cell.family, cell.budget_bytes, cell.seed) for cell in planned(grid)] == [
        ("baseline", None, None),
        ("trivial", None, None),
        ("trivial", None, None),
    ]


def test_own_budgets_and_own_size_stand_in_place_of_the_budgets_of_the_grid(read: ReadText) -> None:
    grid = read(programs("{family: icl}", "{family: icl, budgets: [2KiB]}", "{family: icl, shots: [1, 2]}"))
    assert [(cell.budget_bytes, cell.parameters["shots"]) for cell in planned(grid)] == [
        (1024, None),
        (2048, None),
        (None, 1),
        (None, 2),
    ]


def test_defaults(read: ReadText) -> None:
    (cell,) = planned(read(programs("{family: subset}")))
    assert cell.seed == 1
    assert cell.evaluation == Evaluation()
    assert dict(cell.parameters) == {
        "alpha": 8,
        "epochs": 3,
        "examples": None,
        "lr": 1e-3,
        "rank": 8,
        "target_modules": "all-linear",
        "weights": "adapter",
    }


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4", "'1e-4'"])
def test_spellings_of_one_number_give_one_cell(read: ReadText, text: str) -> None:
    (cell,) = planned(read(programs(f"{{family: subset, lr: {text}}}")))
    assert cell.parameters["lr"] == 1e-4


def test_whole_numbers_become_floats_where_a_float_is_wanted(read: ReadText) -> None:
    ids = {
        cells(read(programs(f"{{family: subset, lr: {text}}}")), {"smollm2-135m": "a" * 64})[0].cell_id
        for text in ("1", "1.0")
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", 1024), ("1KiB", 1024), ("16 KiB", 16384), ("1.5MiB", 1572864), ("68B", 68), ("1GiB", 2**30)],
)
def test_budgets(read: ReadText, text: str, size: int) -> None:
    (cell,) = planned(read(programs("{family: icl}", rest=f"budgets: [{text}]")))
    assert cell.budget_bytes == size


@pytest.mark.parametrize("text", ["16 KB", "16kb", "0", "-1", "0.5", "1.00001KiB", "true", "null", "[1]", "lots"])
def test_bad_budgets(read: ReadText, text: str) -> None:
    (mistake,) = mistakes(read, programs("{family: icl}", rest=f"budgets: [{text}]"))
    assert "B, KiB, MiB or GiB" in mistake
    assert " given" in mistake


def test_values_of_resources_are_checked_whatever_else_is_wrong(read: ReadText) -> None:
    rest = "budgets: [1KiB]\nresources: [{family: icl, processes: 0, nodes: 2, strategy: zero9}, {family: nothing}]\n"
    found = mistakes(read, programs("{family: icl}", rest=rest))
    assert [
        part in mistake for part, mistake in zip(("processes is 0", "'zero9'", "'nothing'"), found, strict=True)
    ] == [True] * 3


def test_no_program_is_as_short_as_its_container(read: ReadText) -> None:
    (mistake,) = mistakes(read, programs("{family: icl}", rest="budgets: [67B]"))
    assert "67 B holds no program: the container alone has 67 bytes" in mistake


def test_exclude(read: ReadText) -> None:
    grid = read(
        FULL + "exclude:\n"
        '  - {model: "*@random-*", family: [subset, lora]}\n'
        "  - {task: gsm8k, family: icl, budget: 256KiB, seed: [2, 3]}\n"
    )
    found = planned(grid)
    assert {cell.family for cell in found if "@" in cell.model} == {"baseline", "icl"}
    large = [(c.task, c.seed) for c in found if c.family == "icl" and c.budget_bytes == 262144 and "@" not in c.model]
    assert large == [("chain-sum", 1), ("chain-sum", 2), ("chain-sum", 3), ("gsm8k", 1)]


def test_exclude_by_parameters(read: ReadText) -> None:
    entries = (
        "{family: subset, examples: [8, 64, all], lr: [1e-3, 1e-4]}",
        "{family: lora, bits: 4, lr: 1e-4}",
        "{family: icl, shots: 1}",
    )
    grid = read(programs(*entries, rest="exclude: [{examples: [8, all], lr: 1e-4}, {family: lora, bits: 4}]"))
    found = [(c.family, c.parameters.get("examples"), c.parameters.get("lr")) for c in planned(grid)]
    assert found == [
        ("subset", 8, 1e-3),
        ("subset", 64, 1e-3),
        ("subset", 64, 1e-4),
        ("subset", "all", 1e-3),
        ("icl", None, None),
    ]


def test_a_parameter_that_was_added_to_a_family_changes_no_older_cell(read: ReadText) -> None:
    entry, identities = "{family: gains, kept: 99, examples: 8%s}", {"smollm2-135m": "a" * 64}
    (before,) = cells(read(programs(entry % "")), identities)
    assert "beams" not in before.parameters and "beams" not in before.label
    greedy, searched = cells(read(programs(entry % ", beams: [1, 2]")), identities)
    assert greedy.cell_id == before.cell_id != searched.cell_id
    assert searched.parameters == {**before.parameters, "beams": 2}
    assert all_parameters(before) == {**before.parameters, "beams": 1}
    for beams, left in ((1, searched), (2, greedy)):
        grid = read(programs(entry % ", beams: [1, 2]", rest=f"exclude: [{{beams: {beams}}}]"))
        assert cells(grid, identities) == [left]


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ("{shots: 3}", "'shots'"),
        ("{lr: fast}", "lr: must be a number"),
        ("{lr: 1e-5}", "exclude 1 matches no cell"),
    ],
)
def test_bad_exclude_by_parameters(read: ReadText, rule: str, part: str) -> None:
    (mistake,) = mistakes(read, programs("{family: subset, examples: 8, lr: 1e-3}", rest=f"exclude: [{rule}]"))
    assert part in mistake


def test_weights_of_4_bits_cannot_be_changed(read: ReadText) -> None:
    def text(*entries: str, rest: str = "") -> str:
        return programs(*entries, rest=rest).replace(
            "models: [smollm2-135m]", "models: [olmo3-32b-step656k, smollm2-135m]"
        )

    full, whole = "{family: full, bits: 4}", "{family: subset, examples: 8, weights: all}"
    scaled = ("{family: scales, kept: 9}", "{family: gains, kept: 9}")
    found = mistakes(read, text(full, whole, *scaled, "{family: lora, bits: 4}"))
    assert [mistake.partition(": ")[2].split(" changes")[0] for mistake in found] == ["full", "subset", "scales"]
    assert all("'olmo3-32b-step656k'" in mistake and "4 bits" in mistake for mistake in found)
    rest = 'exclude: [{model: "olmo3-32b*", family: full}]'
    assert len(planned(read(text(full, "{family: lora, bits: 4}", rest=rest)))) == 3


def test_every_mistake_comes_in_one_message_in_the_order_of_the_file(read: ReadText) -> None:
    found = mistakes(
        read,
        """\
study: a/b
tasks: [chain-sun, chain-sum, chain-sum]
models: [smollm2-135]
programs:
  - {family: subst}
  - {family: subset, lr: -1, epoch: 2}
  - {family: subset, examples: 8, budgets: [1KiB]}
  - {family: icl, shots: [2, x]}
  - {family: baseline, budgets: [100]}
  - {family: subset, epochs: [1, 2]}
  - {family: subset, epochs: [2, 3]}
  - lora
budgets: [16 KB, 1KiB, 1024]
budgets: [1KiB]
seeds: []
evaluation: {validation: 3, test_items: few, execute: frontier}
exclude:
  - {model: "olmo*"}
  - {famly: x}
extra: 1
""",
    )
    wanted = [
        ("line 1", "'study' names a folder", "'a/b'"),
        ("line 2", "unknown task 'chain-sun'; did you mean chain-sum?"),
        ("line 2", "'chain-sum' is listed twice"),
        ("line 3", "unknown model 'smollm2-135'; did you mean smollm2-135m"),
        ("line 5", "program 1", "unknown program family 'subst'; did you mean subset?"),
        ("line 6", "program 2 (subset)", "lr is -1.0; it must be above 0"),
        ("line 6", "unknown parameter 'epoch'; did you mean epochs?"),
        ("line 7", "'budgets' and 'examples' both set the size"),
        ("line 8", "program 4 (icl)", "'shots' must be a whole number", "'x' given"),
        ("line 9", "program 5 (baseline)", "'budgets' does nothing here"),
        ("line 11", "program 7 repeats cells of program 6", "epochs=2"),
        ("line 12", "program 8 must be a mapping with the key 'family'"),
        ("line 14", "'budgets' is given twice"),
        ("line 15", "'seeds' is an empty list"),
        ("line 16", "'validation'; did you mean validation_items"),
        ("line 16", "'test_items' must be a whole number of at least 1 or 'all'"),
        ("line 16", "'execute' can only be 'all'"),
        ("line 18", "no model of this grid matches 'olmo*'"),
        ("line 19", "'famly'; did you mean family?"),
        ("line 20", "unknown key 'extra'"),
    ]
    for parts in wanted:
        assert any(
            mistake.startswith(f"{parts[0]}: ") and all(part in mistake for part in parts[1:]) for mistake in found
        ), (
            parts,
            found,
        )
    assert len(found) == len(wanted)
    lines = [int(mistake.split(":")[0].removeprefix("line ")) for mistake in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (programs("{family: icl}", rest=""), "nothing sets its size: give 'budgets', here or for the grid, or 'shots'"),
        (programs("{family: icl, shots: null}"), "'shots' must be a whole number; nothing given"),
        (programs("{family: icl, shots: 2.0}"), "'shots' must be a whole number; 2.0 given"),
        (programs("{family: icl, shots: yes}"), "'shots' must be a whole number; true given"),
        (programs("{family: icl, shots: []}"), "'shots' is an empty list"),
        (programs("{family: icl, shots: [2, 2]}"), "'shots' lists 2 twice"),
        (programs("{family: subset, lr: [1, 1.0]}"), "'lr' lists 1.0 twice"),
        (programs("{family: subset, lr: .inf}"), "'lr' must be a number; inf given"),
        (programs("{family: subset, lr: 1e999}"), "'lr' must be a number; inf given"),
        (programs("{family: subset, lr: fast}"), "'lr' must be a number; the text 'fast' given"),
        (programs("{family: lora, target_modules: '('}"), "target_modules is '(', which is no regular expression"),
        (programs("{family: subset, target_modules: '*x'}"), "target_modules is '*x', which is no regular expression"),
        (programs("{family: lora, target_modules: no}"), "'target_modules' must be text; false given"),
        (programs("{family: [icl]}"), "program 1: text is wanted"),
        (programs("{lr: 1}"), "program 1 must be a mapping with the key 'family'; its keys are lr"),
        (programs("{family: icl, shots: 8}", "{family: icl, shots: 8}"), "program 2 repeats cells of program 1"),
        (HEAD + "programs: []", "'programs' must be a list"),
        (HEAD, "the key 'programs' is missing"),
        (HEAD.replace("[chain-sum]", "chain-sum") + "programs: [{family: trivial}]", "'tasks' must be a list"),
        (HEAD.replace("demo", "2024") + "programs: [{family: trivial}]", "quote a name that is a number"),
        (HEAD.replace("demo", "..") + "programs: [{family: trivial}]", "'study' names a folder"),
        (programs("{family: trivial}", rest="seeds: [1, true]"), "a seed is a whole number of at least 0; true given"),
        (programs("{family: trivial}", rest="evaluation: {time_limit_seconds: all}"), "'time_limit_seconds' must be"),
        (programs("{family: trivial}", rest="exclude: [{family: trivial}]"), "'exclude' leaves no cell"),
        (programs("{family: trivial}", rest="exclude: [{seed: 2}]"), "exclude 1 matches no cell"),
        (programs("{family: trivial}", rest="exclude: []"), "'exclude' must be a list"),
        (programs("{family: icl, shots: 1}", rest=f"seeds: [{2**32}]"), f"seeds: must be at most {2**32 - 1}; {2**32}"),
        (programs("{family: icl}", rest="budgets: [9999999999GiB]"), f"budgets: must be at most {2**63 - 1}"),
        (programs("{family: lora, bits: 4, rank: 99999999999999999999}"), "'rank' must be at most"),
        (
            programs("{family: trivial}", rest="evaluation: {test_items: 99999999999999999999}"),
            "'test_items' must be at most",
        ),
        (
            HEAD.replace("chain-sum", "~nobody-of-this-name/task.yaml") + "programs: [{family: trivial}]",
            "does not know",
        ),
        (programs("{family: lora, bits: 4, target_modules: ''}"), "target_modules is empty; give all-linear"),
        (programs(f"{{family: icl, budgets: [{'1' * 400}]}}"), "a budget is a whole number of bytes"),
        (programs(f"{{family: lora, bits: 4, lr: {'1' * 400}}}"), "must be a number"),
        ("- a\n- b\n", "a grid is a mapping with the keys study"),
        ("", "a grid is a mapping with the keys study"),
    ],
)
def test_one_mistake(read: ReadText, text: str, part: str) -> None:
    (mistake,) = mistakes(read, text)
    assert part in mistake


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("study: [a\ntasks: b", "line 2, column 6"),
        ("a:\t1\n\tb: 3", "column"),
        ("a: &x\n  b: *x\n", "line 1, column 4: this cannot be read as YAML: nested too deeply"),
        ("a: " + 3000 * "[" + 3000 * "]", "this cannot be read as YAML: nested too deeply"),
        ("a: 1\n---\nb: 2", "line 2, column 1"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("{a: 1}: 2", "a key must be text"),
        ("a: 1\nb: 2024-13-45", "line 2, column 4: this cannot be read as YAML: '2024-13-45' is no timestamp: month"),
        ("a: 1\nb: !!bool foo", "line 2, column 4: this cannot be read as YAML: 'foo' is no bool"),
        ("a: !!int ''", "line 1, column 4: this cannot be read as YAML: '' is no int"),
        ("a: !!float ''", "line 1, column 4: this cannot be read as YAML: '' is no float"),
        ("a: !!timestamp abc", "line 1, column 4: this cannot be read as YAML: 'abc' is no timestamp"),
        ("a: \x07", "this cannot be read as YAML"),
    ],
)
def test_text_that_is_no_yaml_is_one_mistake(read: ReadText, text: str, part: str) -> None:
    (mistake,) = mistakes(read, text)
    assert part in mistake


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.yaml", "missing.yaml", "."):
        with pytest.raises(UserError, match="cannot read the grid"):
            read_grid(tmp_path / name)


def test_task_files_are_relative_to_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(f'{{"question": "{split}?", "answer": "yes"}}\n')
    (tmp_path / "my-task.yaml").write_text(
        "name: my-own\ntemplate: 'Q: {question} A:'\ntarget: answer\ntrain: train.jsonl\nvalidation: validation.jsonl\n"
        "test: test.jsonl\nmetrics: accuracy\nscorer: exact\nmax_new_tokens: 4\ninstruction: Answer.\nlicence: CC0\n"
    )
    grid = tmp_path / "grid.yaml"
    grid.write_text(programs("{family: trivial}").replace("chain-sum", "my-task.yaml"))
    monkeypatch.chdir("/")
    (cell,) = planned(read_grid(grid))
    assert cell.task == "my-own"
    assert read_grid(grid).tasks[0].source == str(tmp_path / "my-task.yaml")


def test_find_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    grid = tmp_path / "jobs" / "small-study.yaml"
    grid.write_text(FULL)
    monkeypatch.chdir(tmp_path)
    assert find_grid(str(grid)) == grid
    assert find_grid("small-study") == find_grid("small-study.yaml") == Path("jobs/small-study.yaml")
    with pytest.raises(UserError, match=r"no grid file 'smal-study'\. Did you mean small-study\?"):
        find_grid("smal-study")
    with pytest.raises(UserError, match="is a folder"):
        find_grid(str(tmp_path))


def test_every_grid_of_this_project_is_without_mistakes() -> None:
    for path in sorted((Path(__file__).parent.parent / "jobs").glob("*.yaml")):
        grid = read_grid(path)
        assert planned(grid) or grid.search_budgets, path  # the cells of a search are planned rung by rung


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "grid.md").read_text(encoding="utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    assert "exclude:" in text
    (tmp_path / "grid.yaml").write_text(text)
    found = planned(read_grid(tmp_path / "grid.yaml"))
    a_seed = 3 + 3 * 3 + 2 + 1  # icl, subset by budget (one of its four combinations left out), subset by size, lora
    assert len(found) == 2 * (3 + 3 * a_seed) - 2 * (3 * 3 + 2 + 1)
