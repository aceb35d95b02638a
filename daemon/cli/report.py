"""`elcano report`: a session in one HTML file, once or kept up to date while it runs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, answer_of, fail_usage, read_settings_to_ask

if TYPE_CHECKING:
    from daemon.config.schema import Settings
    from daemon.pipeline.gate import Limits
    from daemon.reports.questions import Answer, Ask
    from daemon.reports.writing import Source, Written

_MOST_ROWS = 1_000_000
_TIMEOUT_S = 300.0
_LARGEST_SHARE = 0.1
"""Of the time, that keeping a page up to date may take."""


def report(
    session: Annotated[str, typer.Argument(help="Name or id.")],
    live: Annotated[bool, typer.Option("--live", help="Keep the file up to date until the session closes.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; unset: <home>/<session>/reports/<session>.html.")
    ] = None,
    every: Annotated[
        float, typer.Option("--every", min=5, max=86400, help="Seconds between renewals, with --live.")
    ] = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML file about a session.

    It shows quality with gates, speed, examples, failures and provenance.

    It needs nothing else: no network, no script. Works with a running daemon and without one.

    Example: elcano report 24dec03a --live --output 24dec03a.html
    """
    settings = read_settings_to_ask(config)
    if output is not None and output.is_dir():
        fail_usage(f"{output} is a directory. Name the file of the report.")
    file = output.absolute() if output is not None else None
    if not live:
        _say(_write_once(settings, session, file, None), as_json=as_json)
        return
    try:
        _keep(settings, session, file, every, as_json=as_json)
    except KeyboardInterrupt:
        print("elcano: the report is not kept up to date any more.", file=sys.stderr)


def _keep(settings: "Settings", session: str, file: Path | None, every_s: float, *, as_json: bool) -> None:
    """Renew the report until its session closes; a look that fails is told once, and tried again."""
    from daemon.errors import ElcanoError

    written = _write_once(settings, session, file, every_s)
    _say(written, as_json=as_json)
    said, pause_s = "", every_s
    while written.session_is_open:
        _wait(pause_s)
        began_s = time.monotonic()
        try:
            written = _write_once(settings, session, file, pause_s)
            said = ""
        except ElcanoError as error:
            if str(error) != said:
                said = str(error)
                print(f"elcano: the report is older than it should be: {said}", file=sys.stderr)
        pause_s = max(every_s, (time.monotonic() - began_s) / _LARGEST_SHARE)
    print(f"elcano: session {session} is closed; this was its last report.", file=sys.stderr)


def _wait(pause_s: float) -> None:
    time.sleep(pause_s)


def _write_once(settings: "Settings", session: str, file: Path | None, renewed_every_s: float | None) -> "Written":
    from dataclasses import replace
    from datetime import datetime

    from daemon.reports.data import Moment
    from daemon.reports.writing import find_session, gather, write_report

    local = datetime.now().astimezone().tzinfo
    assert local is not None
    moment = Moment(time.time(), local, renewed_every_s)
    with _progress() as told, _sources(settings) as source:
        found = find_session(source.ask, session)
        data = gather(source, found, moment, told)
        if not data.is_open:
            data = replace(data, moment=replace(moment, renewed_every_s=None))
        mode = 0o666 & ~settings.output.umask_bits if file is None else None
        return write_report(data, file, mode=mode, group=settings.output.group if file is None else None)


def _say(written: "Written", *, as_json: bool) -> None:
    if as_json:
        shown = {"file": str(written.path), "size_bytes": written.size_bytes, "open": written.session_is_open}
        print(json.dumps(shown))
    else:
        print(written.path)


@contextmanager
def _sources(settings: "Settings") -> "Iterator[Source]":
    """Read as `elcano query` does: by a running daemon, without one from its file, else from the last snapshots."""
    from daemon.errors import BusUnavailable, DaemonNotRunning
    from daemon.reports.writing import Source, merge_limits

    try:
        answer_of(settings, "queues", {})
        is_running = True
    except (DaemonNotRunning, BusUnavailable):
        is_running = False
    if is_running:
        yield Source(lambda sql: _ask_daemon(settings, sql), lambda session, _: _limits_of_daemon(settings, session))
        return
    with ExitStack() as opened:
        ask, note = _open_files(settings, opened)
        yield Source(ask, lambda session, set_here: merge_limits(settings.gates.limits, set_here, session), note)


def _open_files(settings: "Settings", opened: ExitStack) -> "tuple[Ask, str]":
    """Open the store's file, or the snapshots where a daemon has it that does not answer; say what to know of them."""
    from daemon.errors import StoreUnavailable
    from daemon.reports.questions import Answer
    from daemon.reports.writing import ask_store
    from daemon.store.snapshot_query import Snapshots
    from daemon.store.store import Store

    try:
        return ask_store(opened.enter_context(Store.open_read_only(settings.store_path))), ""
    except StoreUnavailable:
        if not settings.store_path.exists() and not any(settings.paths.home.glob("*/tables/*.parquet")):
            raise
    snapshots = opened.enter_context(Snapshots(settings.paths.home))
    age = f"the tables are as they were {time.time() - snapshots.oldest_s:.0f} s ago"
    print(f"elcano: the daemon does not answer; {age}.", file=sys.stderr)

    def ask(sql: str) -> Answer:
        result = snapshots.query(sql, limit_rows=_MOST_ROWS, timeout_s=_TIMEOUT_S)
        return Answer(result.columns, result.rows)

    return ask, f"The daemon did not answer: {age}, and what people set and were told is not in them."


def _ask_daemon(settings: "Settings", sql: str) -> "Answer":
    from daemon.reports.questions import Answer

    asked = {"statement": sql, "limit": _MOST_ROWS, "timeout_s": _TIMEOUT_S}
    data = answer_of(settings, "sql", asked, timeout_s=_TIMEOUT_S + 10)
    return Answer(tuple(data["columns"]), data["rows"])


def _limits_of_daemon(settings: "Settings", session_id: str) -> "Limits":
    limits: dict[str, float | None] = answer_of(settings, "gates", {"session": session_id}, timeout_s=60.0)["limits"]
    return limits


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on a terminal, which goes when the work is done."""
    if not sys.stderr.isatty():
        yield lambda _done, _total, _name: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("report: asking the daemon", total=None)
        yield lambda done, total, name: bars.update(bar, completed=done, total=total, description=f"report: {name}")
