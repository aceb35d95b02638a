"""From file and environment to checked settings; everything that is wrong is told at once.

Order: environment, then file, then defaults. `ELCANO__SECTION__KEY` sets any key, written as in
TOML; MAGELLON_GPFS_PATH and MAGELLON_HOME_PATH set the two paths they name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, Field, create_model

from daemon.config.gates import GateSettings
from daemon.config.layers import Layers, read_layers
from daemon.config.places import REAL_PLACES, RealPlaces
from daemon.config.problems import Fault
from daemon.config.report import ReportSettings
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
from daemon.config.sections import UNKNOWN_SECTION, Checked, check_sections
from daemon.config.together import check_together
from daemon.config.web import WebSettings
from daemon.errors import ConfigurationInvalid, Problem

_MEANT_TO_ASK = re.compile(r"did you mean (\[(bus|paths)\]|bus\.|paths\.(home|state))")

StageParameters = Mapping[str, type[BaseModel]]
"""The parameter model of every stage, by the stage's name."""


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
    found = _read(path, stage_params, environ, places)
    if found.problems:
        raise ConfigurationInvalid(found.source, found.problems)
    return found.settings


def load_to_ask(
    path: Path | None, environ: Mapping[str, str], *, places: RealPlaces = REAL_PLACES
) -> tuple[Settings, tuple[Problem, ...]]:
    """Read what a command needs that only asks a running daemon; also return what is wrong with the rest.

    The daemon runs with a configuration of its own. Raises ConfigurationInvalid where the file cannot be read, or where
    it does not say rightly how the daemon is reached and where results lie: [bus], and home and state of [paths], also
    where the name of that section is probably mistyped.
    """
    found = _read(path, None, environ, places)
    needed = [found.layers.locate(fault) for fault in found.checked.faults if _is_needed_to_ask(fault)]
    if needed:
        raise ConfigurationInvalid(found.source, needed)
    return found.settings, found.problems


def _is_needed_to_ask(fault: Fault) -> bool:
    if fault.what == UNKNOWN_SECTION:
        return _MEANT_TO_ASK.search(fault.hint) is not None
    return fault.place[0] == "bus" or (fault.place[0] == "paths" and fault.place[1:] != ("gpfs",))


@dataclass(frozen=True)
class _Found:
    """What a configuration says, with defaults where it is wrong, and all that is wrong with it."""

    source: str
    settings: Settings
    layers: Layers
    checked: Checked
    problems: tuple[Problem, ...]


def _read(
    path: Path | None, stage_params: StageParameters | None, environ: Mapping[str, str], places: RealPlaces
) -> _Found:
    """Raises ConfigurationInvalid only where there is nothing to check."""
    source = str(path) if path else "environment"
    layers = read_layers(path, environ)
    if stage_params is None:
        layers.raw.pop("stages", None)
    if not layers.is_readable:
        raise ConfigurationInvalid(source, layers.problems)
    base = path.absolute().parent if path is not None else Path.cwd()
    model = settings_model(stage_params or {})
    checked = check_sections(layers, model, base)
    kept = {
        name: checked.sections.get(name, info.get_default(call_default_factory=True))
        for name, info in model.model_fields.items()
    }
    stages = {name: _split_stage(section, (stage_params or {})[name]) for name, section in kept["stages"]}
    settings = Settings(
        source=path,
        paths=kept["paths"],
        state=kept["paths"].state or _default_state(environ),
        bus=kept["bus"],
        store=kept["store"],
        watch=kept["watch"],
        compute=kept["compute"],
        stages=MappingProxyType(stages),
        sessions=tuple(checked.entries.values()),
        gates=kept["gates"],
        lifecycle=kept["lifecycle"],
        output=kept["output"],
        limits=kept["limits"],
        report=kept["report"],
        log=kept["log"],
        web=kept["web"],
    )
    faults = [*checked.faults, *check_together(settings, checked, stage_params, places)]
    problems = [*layers.problems, *(layers.locate(fault) for fault in faults)]
    problems.sort(key=lambda problem: problem.line or 0)  # those of variables first, then down the file
    return _Found(source, settings, layers, checked, tuple(problems))


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
        report=(ReportSettings, Field(default_factory=ReportSettings)),
        log=(LogSettings, Field(default_factory=LogSettings)),
        web=(WebSettings, Field(default_factory=WebSettings)),
        stages=(stages_model, Field(default_factory=stages_model)),
        session=(tuple[SessionEntry, ...], ()),
    )


def _split_stage(section: BaseModel, params: type[BaseModel]) -> StageSettings:
    values = {name: getattr(section, name) for name in params.model_fields}
    enabled: bool = section.enabled  # type: ignore[attr-defined]
    return StageSettings(enabled, params.model_validate(values))


def _default_state(environ: Mapping[str, str]) -> Path:
    if environ.get("STATE_DIRECTORY"):  # systemd lists several with colons; the first is ours
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "elcano"
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return home / ".local" / "state" / "elcano"
