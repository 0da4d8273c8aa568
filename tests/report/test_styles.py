"""Colours, markers and dashes: fixed, different, and told apart without colour; where models stand."""

from __future__ import annotations

from itertools import combinations, pairwise

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from pipeline.catalog import FAMILIES
from pipeline.models import CHECKPOINTS
from pipeline.report.curves import draw_members
from pipeline.report.palette import (
    FAMILY_STYLES,
    STAGE_STYLES,
    VIEW_STYLES,
    family_styles,
    length_styles,
    model_groups,
    model_styles,
    view_styles,
)
from pipeline.report.standing import STAGE_ORDER, families_of, standing_of
from pipeline.report.style import fitted, text_inches


def grey(color: str) -> float:
    red, green, blue = to_rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_every_family_of_the_catalogue_has_a_style_of_its_own() -> None:
    assert FAMILY_STYLES.keys() == FAMILIES.keys()
    assert len({style.color for style in FAMILY_STYLES.values()}) == len(FAMILIES)
    assert len({style.marker for style in FAMILY_STYLES.values()}) == len(FAMILIES)


def test_every_marker_of_a_frontier_can_be_seen() -> None:
    axes = Figure().subplots()
    for family, style in FAMILY_STYLES.items():
        member = {"program_length_bits": 800, "test_performance": 1.0, "is_imported": False}
        draw_members(axes, [member], lambda _, style=style: style, zorder=1)
        line = axes.lines[-1]
        inks = [line.get_markeredgecolor()]
        if MarkerStyle(style.marker).is_filled():
            inks.append(line.get_markerfacecolor())
        assert any(to_rgb(ink) != (1, 1, 1) for ink in inks), family


def test_styles_are_told_apart_in_grey() -> None:
    for styles in (VIEW_STYLES, STAGE_STYLES):
        assert len({style.marker for style in styles.values()}) == len(styles)
        for (name, one), (other_name, other) in combinations(styles.items(), 2):
            assert one.line != other.line or abs(grey(one.color) - grey(other.color)) > 0.02, (name, other_name)
    shades = [grey(style.color) for style in length_styles(7)]
    assert shades == sorted(shades, reverse=True)
    assert min(one - two for one, two in pairwise(shades)) > 0.04


def test_families_and_views_do_not_change_with_their_company() -> None:
    styles = family_styles(["zeta", "lora", "alpha", "trivial"])
    assert list(styles) == ["trivial", "lora", "alpha", "zeta"]
    assert styles["lora"] == FAMILY_STYLES["lora"] == family_styles(["lora"])["lora"]
    assert len({style.marker for style in styles.values()}) == 4
    assert view_styles(["data", "own"])["data"] == VIEW_STYLES["data"]
    many = family_styles([f"family {number}" for number in range(25)])
    assert len({(style.color, style.marker) for style in many.values()}) == 25


def test_styles_of_models_do_not_depend_on_order() -> None:
    styles = model_styles(["b", "a@random-1", "a", "b"])
    assert styles == model_styles(["a", "a@random-1", "b"])
    assert styles["a@random-1"].is_twin and not styles["a"].is_twin
    assert len({(style.color, style.line) for style in styles.values()}) == 3


def test_few_models_share_a_panel_and_many_are_split_by_family() -> None:
    assert model_groups(["b", "a", "a@random-1"]) == {"": ["a@random-1", "a", "b"]}
    assert model_groups([]) == {}
    groups = model_groups(CHECKPOINTS)
    assert groups["smollm3"][0] == "smollm3-step0" and groups["smollm3"][-1] == "smollm3"
    assert sum(len(group) for group in groups.values()) == len(CHECKPOINTS)
    styles = model_styles(CHECKPOINTS)
    for group in groups.values():
        assert len({(styles[model].color, styles[model].line) for model in group}) == len(group)


def test_standing_of_a_published_checkpoint() -> None:
    for alias, checkpoint in CHECKPOINTS.items():
        standing = standing_of(alias)
        assert (standing.family, standing.stage, standing.order) == (
            checkpoint.family,
            checkpoint.stage,
            checkpoint.order,
        )
        assert standing.stage in STAGE_ORDER
        assert standing_of(f"{alias} (0123abcd)").order == checkpoint.order
    assert standing_of("smollm3@random-9").stage == "random"
    assert standing_of("smollm3-stage1").short_name == "stage1"
    assert standing_of("smollm3").short_name == "smollm3"


def test_standing_of_an_unknown_model() -> None:
    families = families_of(["./mine@random-1", "./mine", "other"])
    assert {name: [it.stage for it in family] for name, family in families.items()} == {
        "./mine": ["random", "trained"],
        "other": ["trained"],
    }
    assert families["other"][0].parameters is None


def test_text_is_fitted_by_its_middle() -> None:
    assert fitted("short", 7, 2.0) == "short"
    label = "./a/folder/with/a/rather/long/name/model"
    short = fitted(label, 7, 1.0)
    assert "…" in short and short.startswith("./a/") and short.endswith("model")
    assert text_inches(short, 7) <= 1.0 < text_inches(label, 7)
    assert text_inches("a\nabc", 7) == text_inches("abc", 7)
    assert text_inches("abc", 7, is_bold=True) > text_inches("abc", 7)
