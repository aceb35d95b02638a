"""What belongs to no session is an account of its own."""

from pathlib import Path

from daemon.sessions.unowned import account_of_no_session


def test_every_folder_that_no_session_has_is_a_gap() -> None:
    report = account_of_no_session(
        [Path("/gpfs/forgotten")],
        {Path("/gpfs/broken"): "session.json is not JSON"},
        {Path("/gpfs/closed"): "cannot be looked at: Permission denied"},
    )
    assert [(gap.kind, gap.path, gap.what) for gap in report.gaps][1:] == [
        ("not_imported", "/gpfs/broken", "its movies belong to no session: session.json is not JSON"),
        (
            "not_watched",
            "/gpfs/closed",
            "cannot be looked at: Permission denied; what belongs to it is processed by nobody",
        ),
    ]
    assert (report.gaps[0].kind, report.gaps[0].path) == ("passed_over", "/gpfs/forgotten")
    assert (report.session, report.is_clean) == ("", False)
    assert account_of_no_session().is_clean
