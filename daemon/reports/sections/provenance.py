"""With what each stage ran, which version made which results, and who changed what when."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from daemon.errors import FileUnreadable
from daemon.reports.data import SessionData
from daemon.reports.markup import (
    Content,
    Html,
    count,
    fold,
    join,
    paragraph,
    show_number,
    show_time,
    show_value,
    table,
    tag,
)
from daemon.sessions.records import read_record

_MOST_RUNS = 12


def render(data: SessionData) -> Html | None:
    """Return the stages' parameters and versions, and what people did."""
    parts = [part for part in (_stages(data), _programs(data), _acts(data)) if part is not None]
    return join(parts) if parts else None


def _stages(data: SessionData) -> Html | None:
    runs = list(data.answer("runs"))
    if not runs:
        return None
    parts: list[Content] = []
    for stage, found in groupby(runs, key=lambda row: row["stage"]):
        parts.append(tag("h3", stage.replace("_", " ")))
        parts += _of_stage(list(found), data)
    return join(parts)


def _of_stage(runs: Sequence[Mapping[str, Any]], data: SessionData) -> list[Content]:
    rows, listed = [], []
    first: Mapping[str, Any] | None = None
    for run in sorted(runs, key=lambda run: -run["count"])[:_MOST_RUNS]:
        parameters, stage_version = _parameters(run, data)
        rows.append(
            [
                run["code_version"],
                stage_version,
                run["parameters_hash"],
                show_number(run["count"]),
                show_time(run["first_s"], data.moment.zone),
                show_time(run["last_s"], data.moment.zone),
            ]
        )
        if parameters is not None:
            first = first or parameters
            differs = {key for key in parameters if parameters[key] != first.get(key)}
            pairs = [(key, show_value(value)) for key, value in parameters.items() if not differs or key in differs]
            more = f": {len(pairs)} differ from those above" if differs else ""
            words = f"Parameters {run['parameters_hash']}{more}"
            listed.append(fold(words, table(["parameter", "value"], pairs, class_="parameters")))
    if len(runs) > _MOST_RUNS:
        rows.append(["", "", f"and {len(runs) - _MOST_RUNS} more", "", "", ""])
    headings = ["Elcano", "#stage version", "parameters", "#micrographs", "first", "last"]
    return [table(headings, rows), *listed]


def _parameters(run: Mapping[str, Any], data: SessionData) -> tuple[Mapping[str, Any] | None, str]:
    """Return the parameters of a run and the stage's own version, from the record that it left beside the results."""
    try:
        record = read_record(data.home, run["stage"], run["image"])
    except FileUnreadable as error:
        data.problems.append(error.message)
        return None, ""
    if record is None or record.parameters_hash != run["parameters_hash"]:
        return None, ""
    return record.parameters, str(record.stage_version)


def _programs(data: SessionData) -> Html | None:
    """Return the programs of others that did a stage's work."""
    used: dict[tuple[str, str, str], int] = {}
    for name in data.stage_tables():
        programs = zip(data.stage_column(name, "program"), data.stage_column(name, "program_sha256"), strict=True)
        for program, sha256 in programs:
            if program:
                key = (name.removeprefix("metrics_").replace("_", " "), program, sha256 or "")
                used[key] = used.get(key, 0) + 1
    if not used:
        return None
    rows = [[*key, show_number(number)] for key, number in used.items()]
    return join([tag("h3", "Programs of others"), table(["stage", "program", "sha256", "#micrographs"], rows)])


def _acts(data: SessionData) -> Html | None:
    rows = []
    for row in data.answer("acts"):
        what = row["cause"].replace("_", " ")
        if row["subject"] == "control":
            what = f"{what} → {_control(row['to_state'])}"
        elif row["subject"] != "job":
            what = f"{what} ({count(row['count'], row['subject'])} → {row['to_state']})"
        rows.append([show_time(row["at_s"], data.moment.zone), row["asked_by"], what, row["reason"]])
    if not rows:
        said = "Nobody changed anything by hand."
        return (
            join([tag("h3", "Who changed what"), paragraph(said, class_="quiet")]) if "acts" in data.answers else None
        )
    return join([tag("h3", "Who changed what"), table(["when", "who", "what", "why"], rows)])


def _control(value: str) -> str:
    try:
        found = json.loads(value)
    except ValueError:  # "unset" is no JSON
        return value
    shown = found.get("values", found) if isinstance(found, dict) else found
    return show_value(shown)
