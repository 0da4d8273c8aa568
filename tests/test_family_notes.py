"""What `tcx families` tells of each family."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.catalog import FAMILIES, family
from pipeline.errors import UserError
from pipeline.family_notes import list_families, note_of_family


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_told_with_its_default(name: str) -> None:
    note = note_of_family(name)
    assert note.about == list_families().about[name] != ""
    defaults = {field.name: field.default for field in dataclasses.fields(family(name).parameters)}
    assert {parameter: default for parameter, default, _ in note.parameters} == defaults
    assert all(about.endswith(".") and len(about) > 10 for _, _, about in note.parameters), note.parameters


def test_own_words_win_over_those_of_what_a_family_builds_on() -> None:
    meanings = {
        name: {parameter: about for parameter, _, about in note_of_family(name).parameters} for name in FAMILIES
    }
    assert "many weights share a number" in meanings["gains"]["lr"]
    assert meanings["lora"]["lr"] == meanings["full"]["lr"]
    with pytest.raises(UserError, match="did you mean gains"):
        note_of_family("gain")
