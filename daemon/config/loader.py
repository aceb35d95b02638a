"""From file and environment to checked settings; everything that is wrong is told at once.

Order: environment, then file, then defaults. `ELCANO__SECTION__KEY` sets any key, written as in
TOML; MAGELLON_GPFS_PATH and MAGELLON_HOME_PATH set the two paths they name.
"""

import grp
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import ErrorDetails

from daemon.config.gates import GateSettings
from daemon.config.layers import KeyPath, Layers, read_layers
from daemon.config.places import REAL_PLACES, RealPlaces
from daemon.config.problems import every_key, nearest_key, problem_from, show_value
from daemon.config.schema import (
    BusSettings,
    ComputeSettings,
    LifecycleSettings,
    LimitsSettings,
    LogSettings,
    OutputSettings,
    PathsSettings,
    Section,
    SessionEntry,
    Settings,
    StageSettings,
    StoreSettings,
    WatchSettings,
)
from daemon.domain.names import name_problem
from daemon.errors import ConfigurationInvalid, Problem

StageParameters = Mapping[str, type[BaseModel]]
"""The parameter model of every stage, by the stage's name."""

_TEXT_WANTED = ("string_type", "path_type", "string_sub_type")


def load_settings(
    path: Path | None,
    stage_params: StageParameters | None,
    environ: Mapping[str, str],
    *,
    places: RealPlaces = REAL_PLACES,
) -> Settings:
    """Read, overlay, check. Raises ConfigurationInvalid, which lists every problem.

    Without `stage_params` what concerns stages is left alone and `stages` stays empty: a command that only
    asks the daemon need not load what computes. A folder whose mount does not answer is compared with the others
    as it is named: whoever works with it says so.
    """
    layers = read_layers(path, environ)
    if stage_params is None:
        layers.raw.pop("stages", None)
    problems = list(layers.problems)
    if path is not None and layers.problems and not layers.raw:
        raise ConfigurationInvalid(str(path), problems)
    base = path.absolute().parent if path is not None else Path.cwd()
    sections = _check_sections(layers, settings_model(stage_params or {}), base, problems)
    paths: PathsSettings | None = sections.get("paths")
    state = (paths.state if paths else None) or _default_state(environ)
    problems += _check_together(sections, state, stage_params, _real_paths(sections, state, places))
    if problems:
        raise ConfigurationInvalid(str(path) if path else "environment", problems)
    stages = {name: _split_stage(section, (stage_params or {})[name]) for name, section in sections["stages"]}
    return Settings(
        source=path,
        paths=sections["paths"],
        state=state,
        bus=sections["bus"],
        store=sections["store"],
        watch=sections["watch"],
        compute=sections["compute"],
        stages=MappingProxyType(stages),
        sessions=sections["session"],
        gates=sections["gates"],
        lifecycle=sections["lifecycle"],
        output=sections["output"],
        limits=sections["limits"],
        log=sections["log"],
    )


def settings_model(stage_params: StageParameters) -> type[BaseModel]:
    """Build the model of the whole file: the fixed sections and one for each stage."""
    stages: dict[str, Any] = {}
    for name, params in stage_params.items():
        if "enabled" in params.model_fields:
            raise ValueError(f"stage {name}: a parameter may not be called enabled, that is the stage's own switch")
        section = create_model(
            f"{name}_section",
            __base__=(params, Section),  # Section refuses unknown keys, whatever the stage's model does
            __doc__=params.__doc__,
            enabled=(bool, Field(default=True, description="Whether this step is run.")),
        )
        stages[name] = (section, Field(default_factory=section))
    stages_model = create_model("StagesSettings", __base__=Section, __doc__="The steps.", **stages)
    return create_model(
        "ElcanoSettings",
        __base__=Section,
        __doc__="config.toml of Elcano.",
        paths=(PathsSettings, Field(default_factory=PathsSettings)),
        bus=(BusSettings, Field(default_factory=BusSettings)),
        store=(StoreSettings, Field(default_factory=StoreSettings)),
        watch=(WatchSettings, Field(default_factory=WatchSettings)),
        compute=(ComputeSettings, Field(default_factory=ComputeSettings)),
        output=(OutputSettings, Field(default_factory=OutputSettings)),
        limits=(LimitsSettings, Field(default_factory=LimitsSettings)),
        gates=(GateSettings, Field(default_factory=GateSettings)),
        lifecycle=(LifecycleSettings, Field(default_factory=LifecycleSettings)),
        log=(LogSettings, Field(default_factory=LogSettings)),
        stages=(stages_model, Field(default_factory=stages_model)),
        session=(tuple[SessionEntry, ...], ()),
    )


def _real_paths(sections: Mapping[str, Any], state: Path, places: RealPlaces) -> Mapping[Path, Path]:
    """Follow the links of every folder that is compared with another, all at once."""
    paths: PathsSettings | None = sections.get("paths")
    watch: WatchSettings | None = sections.get("watch")
    entries: tuple[SessionEntry, ...] = sections.get("session", ())
    compared = [state, *(entry.directory for entry in entries), *(watch.roots if watch else ())]
    return places.real_paths([*compared, *((paths.gpfs, paths.home) if paths else ())])


def _check_together(
    sections: Mapping[str, Any], state: Path, stage_params: StageParameters | None, real: Mapping[Path, Path]
) -> list[Problem]:
    """Check what one key alone cannot tell; a section that is wrong by itself is left out of it."""
    problems = _check_places(sections, state, real)
    watch: WatchSettings | None = sections.get("watch")
    if watch is not None and watch.poll_max_s < watch.poll_min_s:
        hint = f"takes a number from poll_min_s = {watch.poll_min_s:g} s on"
        problems.append(Problem("watch.poll_max_s", f"{watch.poll_max_s:g} is less than watch.poll_min_s", hint))
    bus: BusSettings | None = sections.get("bus")
    if bus is not None and bus.credentials is not None and bus.url is None:
        problems.append(Problem("bus.credentials", "has no effect without bus.url", "set bus.url or remove it"))
    output: OutputSettings | None = sections.get("output")
    if output is not None and output.group is not None and not _group_exists(output.group):
        problems.append(Problem("output.group", f"{show_value(output.group)}: this machine knows no such group"))
    return problems + _check_entries(sections.get("session", ()), stage_params, real)


def _check_sections(layers: Layers, model: type[BaseModel], base: Path, problems: list[Problem]) -> dict[str, Any]:
    """Validate section by section, so that one wrong section hides nothing in the others."""
    sections: dict[str, Any] = {}
    for key in sorted(layers.raw.keys() - model.model_fields.keys()):
        where = f"{key} (from {_variable_below(layers, key)})" if _variable_below(layers, key) else key
        problems.append(Problem(where, "unknown section", nearest_key(key, model.model_fields, every_key(model))))
    for name, field in model.model_fields.items():
        adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", field.annotation))
        value = layers.raw.get(name, [] if name == "session" else {})
        if name == "session" and isinstance(value, dict):
            problems.append(Problem("session", "must be a list of tables", "head each entry with [[session]]"))
            continue
        errors = _validate(adapter, name, value, layers, base, sections)
        problems += [problem_from(error, model, layers.origin) for error in errors]
    return sections


def _validate(
    adapter: TypeAdapter[Any], name: str, value: Any, layers: Layers, base: Path, sections: dict[str, Any]
) -> list[ErrorDetails]:
    """Check one section strictly, as JSON: TOML's kinds are kept apart, yet lists and texts become tuples and paths."""
    errors = _try_section(adapter, name, value, base, sections)
    # A variable such as ELCANO__BUS__INSTANCE=7 looks like a number; where text is wanted it is text.
    numbers_for_text = [
        place for error in errors if error["type"] in _TEXT_WANTED and (place := tuple(error["loc"])) in layers.texts
    ]
    for place in numbers_for_text:
        _replace(layers.raw, place, layers.texts[place])
    if numbers_for_text:
        errors = _try_section(adapter, name, layers.raw[name], base, sections)
    if errors and isinstance(value, dict):
        # What is right in a wrong section still takes part in the checks across sections.
        wrong = {error["loc"][1] for error in errors if len(error["loc"]) > 1}
        _try_section(adapter, name, {key: part for key, part in value.items() if key not in wrong}, base, sections)
    return errors


def _try_section(
    adapter: TypeAdapter[Any], name: str, value: Any, base: Path, sections: dict[str, Any]
) -> list[ErrorDetails]:
    text = json.dumps(value, default=str)
    try:
        sections[name] = adapter.validate_json(text, strict=True, context={"base": base})
    except ValidationError as error:
        return [cast("ErrorDetails", {**item, "loc": (name, *item["loc"])}) for item in error.errors()]
    return []


def _replace(raw: dict[str, Any], place: KeyPath, value: str) -> None:
    table: Any = raw
    for part in place[:-1]:
        table = table[part]
    table[place[-1]] = value


def _variable_below(layers: Layers, section: str) -> str | None:
    return next((variable for place, variable in layers.origin.items() if place[0] == section), None)


def _split_stage(section: BaseModel, params: type[BaseModel]) -> StageSettings:
    values = {name: getattr(section, name) for name in params.model_fields}
    enabled: bool = section.enabled  # type: ignore[attr-defined]
    return StageSettings(enabled, params.model_validate(values))


def _check_places(sections: Mapping[str, Any], state: Path, real: Mapping[Path, Path]) -> list[Problem]:
    """Refuse results or state under a folder that is watched: they would be taken for new raw data."""
    paths: PathsSettings | None = sections.get("paths")
    watch: WatchSettings | None = sections.get("watch")
    if paths is None or watch is None:
        return []
    watched = [("watch.roots", root) for root in watch.roots] or [("paths.gpfs", paths.gpfs)]
    watched += [(f"session[{n}].directory", entry.directory) for n, entry in enumerate(sections.get("session", ()))]
    ours = [("paths.home", paths.home), ("paths.state", state)]
    return [
        Problem(key, f"{place} lies under the watched {name} {root}", "choose a place outside: raw data are read-only")
        for key, place in ours
        for name, root in watched
        if real[place].is_relative_to(real[root])
    ]


def _check_entries(
    entries: tuple[SessionEntry, ...], stage_params: StageParameters | None, real: Mapping[Path, Path]
) -> list[Problem]:
    problems: list[Problem] = []
    names: dict[str, int] = {}
    directories: dict[Path, int] = {}
    for n, entry in enumerate(entries):
        where = f"session[{n}]"
        wrong = name_problem(entry.session_name)
        if wrong:
            problems.append(Problem(f"{where}.name", f"{show_value(entry.session_name)} {wrong}"))
        if names.setdefault(entry.session_name, n) != n:
            first = names[entry.session_name]
            problems.append(Problem(f"{where}.name", f"{entry.session_name} is already that of session[{first}]"))
        if directories.setdefault(real[entry.directory], n) != n:
            first = directories[real[entry.directory]]
            problems.append(Problem(f"{where}.directory", f"{entry.directory} is already that of session[{first}]"))
        for stage in entry.pipeline or ():
            if stage_params is not None and stage not in stage_params:
                hint = nearest_key(stage, stage_params, ())
                problems.append(Problem(f"{where}.pipeline", f"{show_value(stage)} is not a stage", hint))
        dose = entry.acquisition
        if dose.dose_per_frame_e_per_ang2 is not None and dose.total_dose_e_per_ang2 is not None:
            hint = "give dose_per_frame_e_per_ang2 or total_dose_e_per_ang2"
            problems.append(Problem(f"{where}.acquisition", "two doses are given", hint))
        by_dose = dose.eer is not None and dose.eer.dose_per_fraction_e_per_ang2 is not None
        if dose.dose_per_frame_e_per_ang2 is not None and by_dose:
            hint = "give total_dose_e_per_ang2 with eer.dose_per_fraction_e_per_ang2"
            problems.append(Problem(f"{where}.acquisition", "the dose of a fraction is given twice", hint))
    return problems


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _default_state(environ: Mapping[str, str]) -> Path:
    if environ.get("STATE_DIRECTORY"):  # systemd lists several with colons; the first is ours
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "elcano"
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return home / ".local" / "state" / "elcano"
