"""`elcano reprocess | parameters | gates`: what a running daemon works by, and doing again what it did by the old."""

import math
from typing import Annotated, Any

import typer

from daemon.cli.control import ReasonOption, SessionOption
from daemon.cli.options import ConfigOption, JsonOption, answer_of, fail_usage, read_settings_to_ask

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One value; may be given again.")
]
PreviewOption = Annotated[bool, typer.Option("--preview", help="Only say what would happen.")]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="Of a preview: refuse, should the selection have changed since.")
]


def reprocess(
    stage: Annotated[str, typer.Argument(help="The stage to run again, and what depends on it.")],
    session: SessionOption = None,
    image: Annotated[list[str] | None, typer.Option("--image", help="Only this micrograph, by name.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="SQL condition on the table micrographs, as in the example.")
    ] = None,
    values: SetOption = None,
    reason: ReasonOption = "",
    preview: PreviewOption = False,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a stage again, with other parameters if given.

    For all micrographs, or those that --session, --image and --where select; their outputs are overwritten. It acts
    at once; --preview only says what would run. Only what depends on the stage runs again. The parameters hold
    for these micrographs; those that come later run with `elcano parameters` and config.toml.

    Example: elcano reprocess ctf_estimation --where "fit_resolution_ang > 8" --set lowest_defocus_ang=8000 --preview
    """
    if not (session or image or where):
        fail_usage("reprocess needs --session, --image or --where.")
    asked = {
        "stage": stage,
        "session": session,
        "images": image or [],
        "where": where,
        "values": read_values(values or []),
        "why": reason,
        "preview": preview,
        "token": token,
    }
    data = answer_of(read_settings_to_ask(config), "stage.reprocess", asked, timeout_s=300.0)
    if as_json:
        _print_json(data)
        return
    stages = ", ".join(f"{count} {name}" for name, count in data["stages"].items()) or "nothing"
    verb = "would run" if preview else "runs"
    print(f"{data['movies']} micrograph(s): {verb} again {stages}")
    for why, count in data["left_out"].items():
        print(f"  left out {count}: {why}")
    if preview:
        print(f"  to do exactly this: the same with --token {data['token']} instead of --preview")


def parameters(
    stage: Annotated[str | None, typer.Argument(help="Only this stage.")] = None,
    values: SetOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what stages run with; with --set, change it.

    New values hold from the next movie on.
    What is set here acts at once, without a preview, and holds over restarts, for all sessions or for one, until the
    key is edited in config.toml.

    Example: elcano parameters ctf_estimation --set highest_defocus_ang=60000 --session 24dec03a
    """
    settings = read_settings_to_ask(config)
    if values:
        if stage is None:
            fail_usage("--set needs the stage.")
        asked = {"stage": stage, "values": read_values(values), "session": session, "why": reason}
        answer_of(settings, "stage.parameters", asked)
    rows = answer_of(settings, "parameters", {"stage": stage, "session": session})
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        print(row["stage"])
        for key, value in row["parameters"].items():
            told = (
                "set for this session" if key in row["set_for_session"] else "set" if key in row["set_for_all"] else ""
            )
            print(f"  {key} = {_shown(value)}" + (f"  ({told})" if told else ""))


def gates(
    session: Annotated[str, typer.Argument(help="Name or id of the session.")],
    limits: Annotated[
        list[str] | None, typer.Option("--set", metavar="GATE=LIMIT", help='One limit, or "off"; may be given again.')
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the limits of config.toml.")] = False,
    reason: ReasonOption = "",
    preview: PreviewOption = False,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the gates of a session; with --set, move them.

    --set and --reset act at once; with --preview they only say what would happen. Micrographs that a moved gate lets
    pass are processed on; those that it refuses and that wait are skipped.

    Example: elcano gates 24dec03a --set ctf_resolution_ang=6 --set motion_total_ang=off --preview
    """
    settings = read_settings_to_ask(config)
    moved = {key: None if value == "off" else value for key, value in read_values(limits or []).items()}
    for key, value in moved.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            fail_usage(f"--set {key}={_shown(value)}: a limit is a number, or off.")
    if moved or reset:
        asked = {"session": session, "limits": moved, "reset": reset, "why": reason, "preview": preview, "token": token}
        data = answer_of(settings, "session.thresholds", asked, timeout_s=120.0)
    else:
        data = answer_of(settings, "gates", {"session": session}, timeout_s=120.0)
    if as_json:
        _print_json(data)
        return
    for name, limit in data["limits"].items():
        refused = data["by_gate"].get(name, 0)
        print(f"{name} = {'off' if limit is None else f'{limit:g}'}" + (f"  refuses {refused}" if refused else ""))
    if by_hand := data["by_gate"].get("by hand", 0) + data.get("accepted_by_hand", 0):
        accepted = data.get("accepted_by_hand", 0)
        print(f"by hand, over the gates: accepted {accepted}, rejected {by_hand - accepted}")
    for stage in sorted(data["by_gate"].keys() - data["limits"].keys() - {"by hand"}):
        print(f"{stage} gave no numbers to trust: refuses {data['by_gate'][stage]}")
    rejected = data["by_gate"].get("by hand", 0)
    judged = f"{data['passes']} pass, {data['refused'] - rejected} refused, "
    judged += (f"{rejected} rejected by hand, " if rejected else "") + f"{data['undecided']} not known yet"
    print(judged + told_failed(data["failed"]))
    if moved or reset:
        verb = "would be" if preview else "are"
        print(f"{data['tasks_reopened']} task(s) {verb} taken up again, {data['tasks_skipped']} {verb} skipped")
        if preview:
            print(f"to do exactly this: the same with --token {data['token']} instead of --preview")


def told_failed(failed: dict[str, int]) -> str:
    """Return what to say of micrographs that no gate could judge, by the stage that did not succeed."""
    named = ", ".join(f"{count} without {stage}, which did not succeed" for stage, count in sorted(failed.items()))
    return f", {named}" if named else ""


def told_waiting(gates: dict[str, Any]) -> str:
    """Return what to say of micrographs that are judged once a stage has run again."""
    return "".join(f", {count} wait for {stage}" for stage, count in sorted(gates.get("waiting", {}).items()))


def read_values(given: list[str]) -> dict[str, Any]:
    """Return KEY=VALUE pairs; a value is read as TOML, and as plain text where it is none.

    Exits 2 without a `=`, and for nan and infinities: JSON has none, they would arrive as null, which means off.
    """
    import tomllib

    values: dict[str, Any] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            fail_usage(f"--set {pair}: write KEY=VALUE.")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
        if not _is_finite(values[key.strip()]):
            fail_usage(f"--set {pair}: nan and infinities are no values.")
    return values


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(_is_finite(member) for member in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _shown(value: Any) -> str:
    import json

    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _print_json(data: Any) -> None:
    import json

    print(json.dumps(data))
