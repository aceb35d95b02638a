"""`elcano retry | cancel | complete | pause | resume | close | rename`: what a running daemon is asked to do."""

from typing import Annotated, Any

import typer

from daemon.cli.options import ConfigOption, JsonOption, answer_of, fail_usage, read_settings_to_ask

SessionOption = Annotated[str | None, typer.Option("--session", help="Only this session, by name or id.")]
StageOption = Annotated[str | None, typer.Option("--stage", help="Only this stage, such as ctf_estimation.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


def retry(
    task_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Tasks, or quarantined movies, to take up again.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="All failed tasks of this session, by name or id.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Only failed tasks of this stage, such as ctf_estimation.")
    ] = None,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Take up what was cancelled, too.")] = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run failed tasks again: by id, of a session, or of a stage.

    What was skipped because of them runs too.
    Quarantined movies, named or of a session, are looked at anew: they run when they prove whole.

    Ids stand in: elcano query "SELECT id, name, stage, reason FROM failures".

    Example: elcano retry --session 24dec03a --stage motion_correction
    """
    if not task_ids and session is None and stage is None:
        fail_usage("retry needs task ids, --session or --stage.")
    asked = {"task_ids": task_ids or [], "session": session, "stage": stage, "cancelled": cancelled, "why": reason}
    data = answer_of(read_settings_to_ask(config), "task.retry", asked, timeout_s=120.0)
    told = f"{data['tasks']} task(s) of {data['movies']} movie(s) will run again"
    if not data["tasks"] and not data["looked_at"]:
        of = " of ".join(word for word in (stage, session) if word)
        told = f"nothing in {of} has failed ({data['open']} wait or run)"
        if data["cancelled"]:
            told += f"; {data['cancelled']} task(s) were cancelled: the same with --cancelled takes them up again"
    if data["looked_at"]:
        told += f"; {data['looked_at']} quarantined movie(s) are looked at anew"
    _say(data, told, as_json=as_json)


def cancel(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="TASK_ID", help="Tasks to give up.")] = None,
    session: SessionOption = None,
    stage: StageOption = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Only this micrograph, by name; may be given again.")
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="A whole job, by its id.")] = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up what waits or runs; what is done stays.

    Named by task ids, a stage, micrographs, a session or a job.
    With --session or --job alone all that the job has now is cancelled; movies that come later are processed (`elcano
    pause` holds them back). `elcano retry --cancelled` and `elcano reprocess` take up again what was cancelled.

    Example: elcano cancel --session 24dec03a --stage fft --reason "nobody looks at them"
    """
    settings = read_settings_to_ask(config)
    if job is not None and (task_ids or session or stage or image):
        fail_usage("--job stands alone.")
    if not (job or task_ids or session or stage or image):
        fail_usage("cancel needs task ids, --job, --session, --stage or --image.")
    if job is None and session is not None and not (task_ids or stage or image):
        job = session
    if job is not None:
        data = answer_of(settings, "job.cancel", {"job": job, "why": reason}, timeout_s=120.0)
    else:
        asked = {"task_ids": task_ids or [], "session": session, "stage": stage, "images": image or [], "why": reason}
        data = answer_of(settings, "task.cancel", asked, timeout_s=120.0)
    told = f"cancelled {data['tasks']} task(s) of {data['movies']} movie(s)"
    if not data["tasks"]:
        told = "nothing of that waits or runs: nothing was cancelled"
    if job is not None:
        told += "; movies that come later are processed (`elcano pause --session N` would hold them back)"
    _say(data, told, as_json=as_json)


def complete(
    job: Annotated[str, typer.Argument(help="Id of the job, or its session.")],
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Declare a job completed, whatever of it is open.

    Example: elcano complete 24dec03a --reason "the rest is on a broken disk"
    """
    data = answer_of(read_settings_to_ask(config), "job.complete", {"job": job, "why": reason})
    print(f"marked completed: {', '.join(data['sessions'])}")


def pause(
    stage: StageOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin nothing new, at all or of a stage or session.

    With --stage and --session: of that stage in that session. What runs is finished. A pause holds over restarts,
    until `elcano resume` with the same options.

    Example: elcano pause --stage ctf_estimation --reason "defocus range is being corrected"
    """
    data = answer_of(read_settings_to_ask(config), *_pausing("pause", stage, session, reason))
    _say(data, _paused(data), as_json=as_json)


def resume(
    stage: StageOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a pause: what waited for it goes on at once.

    Example: elcano resume --stage ctf_estimation
    """
    data = answer_of(read_settings_to_ask(config), *_pausing("resume", stage, session, reason))
    _say(data, _paused(data), as_json=as_json)


def close(
    session: Annotated[str, typer.Argument(help="Name or id of the session.")],
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Say that a session is over; a late file reopens it.

    Example: elcano close 24dec03a --reason "grid unloaded"
    """
    data = answer_of(read_settings_to_ask(config), "session.close", {"session": session, "reason": reason})
    print(f"closed {session}" if data["closed"] else f"{session} is closed when this is over: {data['unfinished']}")


def rename(
    session: Annotated[str, typer.Argument(help="Name or id of the session.")],
    title: Annotated[str, typer.Argument(help='What people read beside the name; "" takes it away.')],
    reason: ReasonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a session another title; its name, folders and files stay.

    Example: elcano rename 24dec03a "apoferritin, grid 3"
    """
    asked = {"session": session, "title": title, "why": reason}
    data = answer_of(read_settings_to_ask(config), "session.rename", asked)
    told = f"{data['session']} is titled {data['title']}" if data["title"] else f"{data['session']} has no title"
    _say(data, told, as_json=as_json)


def pause_line(pause: dict[str, Any]) -> str:
    """Say what is paused, by whom, since when and why."""
    from datetime import datetime

    what = " of ".join(word for word in (pause["stage"], pause["session"] or pause["session_id"]) if word)
    since = datetime.fromtimestamp(pause["since_s"]).astimezone().strftime("%Y-%m-%d %H:%M")
    why = f": {pause['why']}" if pause["why"] else ""
    return f"paused: {what or 'the node'}, by {pause['asked_by']} since {since}{why}"


def _pausing(verb: str, stage: str | None, session: str | None, why: str) -> tuple[str, dict[str, Any]]:
    if stage is not None:
        return f"stage.{verb}", {"stage": stage, "session": session, "why": why}
    if session is not None:
        return f"session.{verb}", {"session": session, "why": why}
    return f"node.{verb}", {"why": why}


def _paused(data: dict[str, Any]) -> str:
    return "\n".join(pause_line(pause) for pause in data["paused"]) or "nothing is paused"


def _say(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    import json

    print(json.dumps(data) if as_json else text)
