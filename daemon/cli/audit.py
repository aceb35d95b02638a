"""`elcano audit`: does everything add up?"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.movie_counts import told_movies
from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings

if TYPE_CHECKING:
    from daemon.config.schema import Settings
    from daemon.sessions.audit import AuditReport
    from daemon.store.rows import SessionRow

_NOTES_SHOWN = 10


def audit(
    session: Annotated[str | None, typer.Argument(help="Name or id; unset: every session.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every output and compare its bytes.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare raw files, database, records and outputs.

    Exit 1 if anything is unaccounted for. Works with a running daemon and without one.

    Example: elcano audit 24dec03a --deep
    """
    from daemon.errors import DaemonNotRunning

    settings = read_settings(config)
    arguments = {"session": session, "deep": deep}
    try:
        reports = answer_of(settings, "audit", arguments, timeout_s=3600.0)
    except DaemonNotRunning:
        reports = _audit_alone(settings, session, deep=deep)
    if as_json:
        print(json.dumps(reports, indent=2))
    else:
        for report in reports:
            _show(report)
        if not reports:
            print("no session is known")
    if any(report["gaps"] for report in reports):
        raise typer.Exit(1)


def _audit_alone(settings: "Settings", session: str | None, *, deep: bool) -> list[dict[str, Any]]:
    """Audit from the store's file while no daemon has it."""
    from dataclasses import asdict

    import anyio

    from daemon.errors import CommandRefused
    from daemon.pipeline.product import product_categories
    from daemon.sessions.audit import audit_session
    from daemon.sessions.raw_files import RawPlaces
    from daemon.store import sessions
    from daemon.store.store import Store
    from daemon.watchers.session_watch import selects

    places = RawPlaces(settings.allowed_roots, (settings.paths.home,))

    async def work(store: Store) -> list[dict[str, Any]]:
        rows = await sessions.sessions(store)
        chosen = [row for row in rows if session in {None, row.session.name, row.session.session_id}]
        if session is not None and not chosen:
            names = ", ".join(row.session.name for row in rows) or "none"
            raise CommandRefused(f"There is no session {session!r}.", hint=f"Known: {names}.")
        reports = []
        for row in chosen:
            own = row.session.acquisition.movie_pattern
            leaves_series = settings.watch.leave_tilt_series and own is None
            is_movie = selects(own or settings.watch.pattern, leaves_series=leaves_series)
            categories = product_categories()
            reports.append(
                await audit_session(store, row.session, categories, selects=is_movie, deep=deep, places=places)
            )
        if session is None and not (outside := _account_outside(settings, rows)).is_clean:
            reports.append(outside)
        return [{**asdict(report), "is_clean": report.is_clean} for report in reports]

    with Store.open_read_only(settings.store_path) as store:
        return anyio.run(work, store)


def _account_outside(settings: "Settings", rows: "Sequence[SessionRow]") -> "AuditReport":
    """Account for all that lies under the roots, or is named in the configuration, and is in none of the sessions."""
    from daemon.config.places import REAL_PLACES
    from daemon.errors import ElcanoError
    from daemon.sessions.manifest import read_manifest
    from daemon.sessions.unowned import NOT_TAKEN_UP, account_of_no_session, why_not_taken_up
    from daemon.watchers.outside import find_outside

    known = [row.session.raw_directory for row in rows]
    named = REAL_PLACES.real_paths(entry.directory for entry in settings.sessions)
    roots, allowed = settings.watched_roots, settings.allowed_roots
    outside = find_outside(roots, allowed, settings.watch.pattern, known, named=tuple(named.values()))
    not_imported = {folder: NOT_TAKEN_UP for folder, real in named.items() if real not in known}
    for manifest in outside.manifests:
        try:
            not_imported[manifest.parent] = why_not_taken_up(manifest.parent, read_manifest(manifest), rows)
        except ElcanoError as error:
            not_imported[manifest.parent] = str(error)
    return account_of_no_session(outside.passed_over, not_imported, outside.not_watched)


def _show(report: dict[str, Any]) -> None:
    movies = told_movies(report["movies"], report.get("partly_cancelled", 0)) or "no movies"
    print(f"{report['session'] or 'of no session'}: {movies}; {len(report['gaps'])} gap(s)")
    for gap in report["gaps"]:
        print(f"  {gap['kind']}: {gap['path']}: {gap['what']}")
    notes = report["notes"]
    for note in notes[:_NOTES_SHOWN]:
        print(f"  note: {note['path']}: {note['what']}")
    if len(notes) > _NOTES_SHOWN:
        print(f"  and {len(notes) - _NOTES_SHOWN} more notes; --json lists them all")
