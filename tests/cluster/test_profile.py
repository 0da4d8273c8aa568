"""Cluster profiles: how files and settings are merged, and what is said about their mistakes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.cluster.profile import (
    KEYS,
    OPEN_KEYS,
    Profile,
    load_profile,
    profile_names,
    shipped_folder,
    user_file,
)
from pipeline.cluster.values import GPU_REQUESTS, OWNED_OPTIONS, Billing
from pipeline.errors import GridError, UserError

ReadText = Callable[[str], Profile]

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "slurm").glob("*.yaml"))


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the user's profiles: not the one of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = user_file("any").parent
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def read(tmp_path: Path) -> ReadText:
    def read_text(text: str) -> Profile:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return load_profile(str(path))

    return read_text


def mistakes(load: Callable[[], Profile]) -> tuple[str, ...]:
    with pytest.raises(GridError) as caught:
        load()
    return caught.value.mistakes


def test_all_clusters_are_shipped_and_are_without_mistakes() -> None:
    wanted = {"generic", "testcluster", "mila", "narval", "rorqual", "tamia", "jean-zay", "leonardo", "perlmutter"}
    assert set(SHIPPED) == wanted
    assert profile_names() == SHIPPED
    for name in SHIPPED:
        profile = load_profile(name)
        assert profile.description
        assert profile.name == name


def test_grids_and_profiles_lie_inside_of_the_package_as_in_a_wheel() -> None:
    package = Path(pipeline.__file__).parent
    assert sorted(path.stem for path in (package / "slurm").glob("*.yaml")) == SHIPPED
    assert (package / "jobs" / "quickstart.yaml").is_file()


def test_no_shipped_profile_holds_an_account() -> None:
    assert {name: load_profile(name).account for name in SHIPPED} == dict.fromkeys(SHIPPED)


def test_an_empty_file_is_all_defaults(read: ReadText) -> None:
    profile = read("")
    assert profile.origins == {}
    assert profile.required == profile.missing == ()
    assert (profile.gpu_request, profile.requeue, profile.options) == ("gres", True, {})
    assert profile.python_command == sys.executable


def test_all_kinds_of_values(read: ReadText) -> None:
    profile = read(
        "partition: gpu\naccount: 1234\nwhole_node: true\ngpus_per_node: 8\nmemory_gib_per_gpu: 60\n"
        "setup: [module load cuda, 'export X=$Y']\nenvironment: {OMP_NUM_THREADS: 4, EMPTY: '', NAME: a b}\n"
        "options: {licenses: scratch, --mail_type: FAIL, overcommit: true, nice: 10, contiguous: false}\n"
        "billing: {unit: node-hours, per_node_hour: 2}\npython: apptainer exec --nv image.sif python\n"
    )
    assert profile.account == "1234"
    assert profile.memory_gib_per_gpu == 60.0
    assert profile.setup == ("module load cuda", "export X=$Y")
    assert profile.environment == {"OMP_NUM_THREADS": "4", "EMPTY": "", "NAME": "a b"}
    assert profile.options == {"licenses": "scratch", "mail-type": "FAIL", "overcommit": "", "nice": "10"}
    assert profile.billing == Billing(unit="node-hours", per_node_hour=2.0)
    assert profile.billing.units(node_hours=3, gpu_hours=24) == 6
    assert profile.python_command == "apptainer exec --nv image.sif python"
    assert pickle.loads(pickle.dumps(profile)) == profile


@pytest.mark.parametrize("text", ["account: 0123", "account: 1_000", "environment: {X: 0x10}", "partition: 010"])
def test_digits_that_yaml_reads_as_another_number_are_refused(read: ReadText, text: str) -> None:
    (mistake,) = mistakes(lambda: read(text))
    assert "must be in quotes" in mistake


def test_the_users_file_is_merged_over_the_shipped_one_and_settings_over_both(own_files: Path) -> None:
    mine = own_files / "narval.yaml"
    mine.write_text(
        "account: def-me-gpu\ngpu_type: null\nenvironment: {HF_HOME: $SCRATCH/hf, A: one}\nsetup: [module load x]\n"
    )
    profile = load_profile("narval", {"account": "0123", "environment.A": "two", "environment.B": "3"})
    assert profile.sources == ("default", str(shipped_folder() / "narval.yaml"), str(mine), "--set")
    assert profile.account == "0123"
    assert profile.gpu_type is None
    assert profile.cpus_per_gpu == 12
    assert profile.environment == {"HF_HOME": "$SCRATCH/hf", "A": "two", "B": "3"}
    assert {key: profile.origins.get(key) for key in ("cpus_per_gpu", "account", "gpu_type", "setup")} == {
        "cpus_per_gpu": str(shipped_folder() / "narval.yaml"),
        "account": "--set",
        "gpu_type": None,
        "setup": str(mine),
    }
    assert profile.origins["environment.HF_HOME"] == str(mine)
    assert profile.origins["environment.A"] == "--set"


def test_a_profile_of_the_user_alone_has_a_name_too(own_files: Path) -> None:
    (own_files / "ours.yaml").write_text("partition: gpu\n")
    assert load_profile("ours").partition == "gpu"
    assert "ours" in profile_names()


def test_null_takes_back_what_was_set_before(own_files: Path) -> None:
    (own_files / "mila.yaml").write_text("environment: {A: one, B: two}\noptions: {licenses: x}\nsetup: [echo]\n")
    profile = load_profile("mila", {"environment.A": "", "options": "null", "setup": "", "partition": ""})
    assert profile.environment == {"A": "", "B": "two"}
    assert (profile.options, profile.setup, profile.partition) == ({}, (), None)
    assert "options.licenses" not in profile.origins


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("whole_node", "false", False),
        ("gpus_per_node", "8", 8),
        ("setup", "[module load a, module load b]", ("module load a", "module load b")),
        ("billing", "{unit: RGU-hours, per_gpu_hour: 4}", Billing(unit="RGU-hours", per_gpu_hour=4.0)),
        ("options.overcommit", "true", {"overcommit": ""}),
        ("options.nice", "010", {"nice": "010"}),
        ("qos", "true", "true"),
    ],
)
def test_settings(key: str, text: str, value: object) -> None:
    assert getattr(load_profile("generic", {key: text}), key.partition(".")[0]) == value


def test_what_a_site_requires_is_asked_for_in_one_message() -> None:
    profile = load_profile("jean-zay")
    assert profile.missing == ("account", "constraint")
    with pytest.raises(UserError) as caught:
        profile.check_complete()
    for part in ("'jean-zay' needs account and constraint", "--set account=... --set constraint=...", "jean-zay.yaml"):
        assert part in str(caught.value)
    load_profile("jean-zay", {"account": "abc@v100", "constraint": "v100-32g"}).check_complete()


def test_what_is_required_goes_into_a_file_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("required: [account]\n")
    with pytest.raises(UserError, match=f"or write 'account: ...' into {path}"):
        load_profile(str(path)).check_complete()
    path.write_text(path.read_text() + "account: us\n")
    load_profile(str(path)).check_complete()


def test_every_mistake_comes_in_one_message_in_the_order_of_the_file(read: ReadText) -> None:
    text = """\
partitions: gpu
account: [a]
required: [acount, cpus_per_gpu]
gpu_request: gpu
cpus_per_gpu: 0
memory_gib_per_gpu: -1
whole_node: 1
max_walltime_minutes: 60
ideal_walltime_minutes: 90
setup: module load x
teardown: [echo, [x], 3]
environment: {1A: x, B: [1], C: true}
signal_lead_seconds: 70000
billing: {unit: x, per_gpu_hour: 1, per_node_hour: 1}
options:
  gres: gpu:1
  job-name: x
  -C: v100
  mem_per_cpu: 1
  licenses: {a: 1}
qos: a
qos: b
exclude_nodes_hours: 1000000
"""
    wanted = [
        ("line 1", "unknown key 'partitions'; did you mean partition"),
        ("line 2", "'account' must be one line of text", "a list given"),
        ("line 3", "unknown key that a site can require 'acount'; did you mean account"),
        ("line 3", "unknown key that a site can require 'cpus_per_gpu'"),
        ("line 4", "'gpu_request' must be one of gres, gpus-per-node, none; the text 'gpu' given"),
        ("line 5", "'cpus_per_gpu' must be a whole number of at least 1"),
        ("line 6", "'memory_gib_per_gpu' must be a number above 0"),
        ("line 7", "'whole_node' must be true or false; 1 given"),
        ("line 9", "'ideal_walltime_minutes' is 90, above the 60 of 'max_walltime_minutes'"),
        ("line 10", "'setup' must be a list of lines"),
        ("line 11", "'teardown' item 2 must be one line of text"),
        ("line 12", "'1A' is no name of a variable"),
        ("line 12", "'B' must be one line of text"),
        ("line 12", "'C' must be one line of text (in quotes", "true given"),
        ("line 13", "'signal_lead_seconds' must be a whole number from 1 to 65535; 70000 given"),
        ("line 14", "'billing' is not right: give 'unit', and either"),
        ("line 16", "'gres' cannot be passed through: use the keys 'gpu_request'"),
        ("line 17", "'job-name' cannot be passed through: set by tcx"),
        ("line 18", "'-C' is no long name"),
        ("line 19", "'mem_per_cpu' cannot be passed through: use the key 'memory_gib_per_gpu'"),
        ("line 20", "'licenses' must be one line of text"),
        ("line 22", "'qos' is given twice"),
        ("line 23", "'exclude_nodes_hours' must be a number above 0 and at most 87600; 1000000 given"),
    ]
    found = mistakes(lambda: read(text))
    assert len(found) == len(wanted), found
    for mistake, parts in zip(found, wanted, strict=True):
        assert mistake.startswith(f"{parts[0]}: ")
        assert all(part in mistake for part in parts[1:]), (mistake, parts)


def test_mistakes_of_several_files_come_in_one_message_too(own_files: Path) -> None:
    (own_files / "mila.yaml").write_text("acount: me\nideal_walltime_minutes: 99999\n")
    found = mistakes(lambda: load_profile("mila", {"whole_node": "true", "cpu_per_gpu": "3", "setup": "[a"}))
    parts = [
        "mila.yaml: line 1: unknown key 'acount'; did you mean account",
        "mila.yaml: line 2: 'ideal_walltime_minutes' is 99999",
        "--set: 'setup': line 1, column 3: this cannot be read as YAML",
        "--set: unknown key 'cpu_per_gpu'; did you mean cpus_per_gpu",
        "--set: 'whole_node' needs 'gpus_per_node'",
    ]
    assert len(found) == len(parts)
    for part, mistake in zip(parts, found, strict=True):
        assert part in mistake


def test_a_type_of_gpu_that_nobody_asks_for_is_a_mistake(own_files: Path) -> None:
    (mistake,) = mistakes(lambda: load_profile("narval", {"gpu_request": "none"}))
    assert "'gpu_type' does nothing" in mistake
    assert load_profile("narval", {"gpu_request": "none", "gpu_type": ""}).gpu_type is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("- a\n", "a profile is a mapping with keys such as"),
        ("a: [b\n", "cannot be read as YAML"),
        ("billing: 3\n", "must be a mapping with the keys unit"),
        ("billing: {unit: x, per_gpu: 3}\n", "did you mean per_gpu_hour"),
        ("billing: {unit: x, per_gpu_hour: free}\n", "'per_gpu_hour' must be a number"),
        ("environment: [A]\n", "'environment' must be a mapping of names to text; a list given"),
        ("qos: ''\n", "'qos' must be one line of text"),
        ('qos: "a\\nb"\n', "'qos' must be one line of text"),
    ],
)
def test_one_mistake(read: ReadText, text: str, part: str) -> None:
    (mistake,) = mistakes(lambda: read(text))
    assert part in mistake


@pytest.mark.parametrize("option", OWNED_OPTIONS)
def test_options_that_tcx_owns_are_refused(option: str) -> None:
    for spelled in (option, option.replace("-", "_"), f"--{option}"):
        (mistake,) = mistakes(lambda name=spelled: load_profile("generic", {f"options.{name}": "x"}))
        assert "cannot be passed through" in mistake


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("naval", "unknown profile 'naval'; did you mean narval?"),
        ("nowhere", "known: generic, jean-zay"),
        ("./narval.yaml", "there is no profile file ./narval.yaml"),
        ("", "unknown profile ''"),
    ],
)
def test_no_such_profile(name: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        load_profile(name)
    assert part in str(caught.value)


def test_a_file_in_the_working_folder_and_a_name_with_its_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_profile("narval.yaml").gpu_type == "a100"
    (tmp_path / "here.yaml").write_text("partition: gpu\n")
    assert load_profile("here.yaml").name == "here"
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the profile"):
        load_profile("./binary.yaml")


def test_the_documentation_names_every_key_and_default(read: ReadText) -> None:
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    keys = [line.split("`")[1] for line in rows]
    assert keys == list(KEYS)
    defaults = read("")
    for key, row in zip(keys, rows, strict=True):
        default = getattr(defaults, key)
        text = "null" if default is None else "empty" if default in ("", (), {}) else f"{default}".lower()
        assert row.endswith(f" | {text.removesuffix('.0')} |"), row
    for name in (*GPU_REQUESTS, *OPEN_KEYS):
        assert f"`{name}`" in page


def test_the_example_of_the_documentation(read: ReadText) -> None:
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    profile = read(page.partition("```yaml\n")[2].partition("```")[0])
    assert profile.missing == ("account",)


def test_profiles_and_scripts_need_no_torch() -> None:
    code = "import sys, pipeline.cluster.sbatch, pipeline.cluster.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
