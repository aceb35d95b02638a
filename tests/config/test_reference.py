import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import daemon
from daemon.config.loader import load_settings, settings_model
from daemon.config.problems import every_key, model_of
from daemon.config.reference import toml_value, write_reference
from daemon.pipeline.stage import MovieStage

CONFIG = Path(daemon.__file__).parents[1] / "config.toml"


class Params(BaseModel):
    """Make a picture."""

    height_px: int = Field(default=494, ge=16, le=8192, description="Height of the picture.")
    quality: float | None = Field(default=None, ge=0, le=1, examples=[0.5], description="How good it is.")


def all_stage_params() -> dict[str, type[BaseModel]]:
    """Every stage in daemon/stages, registered or not."""
    folder = Path(daemon.__file__).parent / "stages"
    found: dict[str, type[BaseModel]] = {}
    for module in pkgutil.iter_modules([str(folder)]):
        for _, item in inspect.getmembers(importlib.import_module(f"daemon.stages.{module.name}"), inspect.isclass):
            if issubclass(item, MovieStage) and item.__module__ == f"daemon.stages.{module.name}":
                found[item.name] = item.Params
    return found


def test_the_reference_loads_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(write_reference({"thumbnail": Params}), encoding="utf-8")
    (tmp_path / "empty.toml").write_text("")
    environ = {"HOME": "/h"}
    written = load_settings(path, {"thumbnail": Params}, environ)
    default = load_settings(tmp_path / "empty.toml", {"thumbnail": Params}, environ)
    for section in ("paths", "state", "bus", "store", "watch", "compute", "stages", "sessions", "lifecycle", "output"):
        assert getattr(written, section) == getattr(default, section), section
    assert (written.limits, written.log) == (default.limits, default.log)


def test_the_reference_names_every_key_once_under_its_section() -> None:
    stages: dict[str, type[BaseModel]] = {"thumbnail": Params}
    assert sorted(shown_keys(write_reference(stages))) == sorted(leaf_keys(settings_model(stages)))


def test_what_is_commented_out_can_be_used(tmp_path: Path) -> None:
    """Taking the # off every example gives a right configuration, but for keys that exclude each other."""
    stages: dict[str, type[BaseModel]] = {"motion_correction": Params, "ctf_estimation": Params}
    lines = write_reference(stages).splitlines()
    shown = [line.removeprefix("# ") if is_key(line) or is_table(line) else line for line in lines]
    path = tmp_path / "config.toml"
    path.write_text(
        "\n".join(line for line in shown if not line.startswith(("total_dose", "group", "dose_per_fraction")))
    )
    loaded = load_settings(path, stages, {"HOME": "/h"})
    assert loaded.sessions[0].acquisition.gain is not None


def test_config_toml_at_the_top_documents_every_key_with_its_true_default() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    stages = all_stage_params()
    missing = [block for block in write_reference(stages).split("\n\n") if block.strip() not in text]
    assert not missing, "config.toml is out of date; write it anew: elcano config schema --toml > config.toml"
    assert sorted(shown_keys(text)) == sorted(leaf_keys(settings_model(stages)))
    load_settings(CONFIG, stages, {"HOME": "/h"})


def test_every_key_says_what_it_means() -> None:
    def silent(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            inner = model_of(field.annotation)
            if inner is not None:
                if not inner.__doc__:
                    yield f"{prefix}{name}"
                yield from silent(inner, f"{prefix}{name}.")
            elif not field.description:
                yield f"{prefix}{name}"

    assert list(silent(settings_model({"thumbnail": Params}), "")) == []


def is_key(line: str) -> bool:
    name, equals, _ = line.removeprefix("# ").partition(" = ")
    return bool(equals) and name.isidentifier()


def is_table(line: str) -> bool:
    return re.fullmatch(r"(# )?\[+[\w.]+\]+", line) is not None


def shown_keys(text: str) -> Iterator[str]:
    section = ""
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        if is_table(line):
            section = bare.strip("[]")
        elif is_key(line):
            yield f"{section}.{bare.partition(' = ')[0]}"


def leaf_keys(model: type[BaseModel]) -> list[str]:
    keys = [key for key in every_key(model) if key != "stages"]  # a table of tables, perhaps of none
    return [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]


values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc"))),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(values)
def test_toml_values_round_trip(value: object) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}") == {"value": value}


def test_no_toml_for_what_toml_has_not() -> None:
    with pytest.raises(TypeError, match="no TOML"):
        toml_value(object())
