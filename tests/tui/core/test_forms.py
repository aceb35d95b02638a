"""Parameters from a schema, as people type them."""

import pytest

from daemon.app.parameters import stage_parameters
from tui.core.forms import changed_values, read_fields

SCHEMA = {
    "properties": {
        "patch_ang": {"type": "number", "minimum": 50, "maximum": 5000, "description": "Distance\n of patches."},
        "local": {"type": "boolean"},
        "version": {"enum": [4, 5], "type": "integer"},
        "limit": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
        "names": {"type": "array"},
        "word": {"type": "string"},
    }
}
VALUES = {"patch_ang": 300.0, "local": True, "version": 4, "limit": None, "names": ["a"], "word": "x"}


def test_fields_say_what_they_take() -> None:
    fields = {field.key: field for field in read_fields(SCHEMA, VALUES)}
    assert [field.typed for field in fields.values()] == ["300.0", "true", "4", "", '["a"]', "x"]
    assert fields["patch_ang"].bounds == "≥ 50, ≤ 5000"
    assert fields["patch_ang"].meaning == "Distance of patches."
    assert fields["limit"].bounds == "> 0, or empty"
    assert fields["version"].choices == (4, 5)


def test_only_what_was_changed_is_sent() -> None:
    fields = read_fields(SCHEMA, VALUES)
    typed = {field.key: field.typed for field in fields}
    assert changed_values(fields, typed) == {}
    changed = typed | {"patch_ang": "250", "local": "false", "version": "5", "limit": "2.5", "names": "[]"}
    assert changed_values(fields, changed) == {
        "patch_ang": 250,
        "local": False,
        "version": 5,
        "limit": 2.5,
        "names": [],
    }


@pytest.mark.parametrize(
    ("key", "typed", "words"),
    [
        ("patch_ang", "wide", "patch_ang must be a number"),
        ("patch_ang", "true", "patch_ang must be a number"),
        ("patch_ang", "", "patch_ang must be a number"),
        ("local", "1", "local must be true or false"),
        ("version", "6", "version is one of 4, 5"),
        ("limit", "x", "limit must be a number or empty"),
    ],
)
def test_what_cannot_be_read_is_said(key: str, typed: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        changed_values(read_fields(SCHEMA, VALUES), {key: typed})


@pytest.mark.parametrize("stage", sorted(stage_parameters()))
def test_every_stage_has_a_form_whose_defaults_read_back(stage: str) -> None:
    kind = stage_parameters()[stage]
    values = kind().model_dump(mode="json")
    fields = read_fields(kind.model_json_schema(), values)
    assert {field.key: field.read(field.typed) for field in fields} == values
