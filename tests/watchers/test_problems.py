"""What is said of places that cannot be watched."""

import errno
import os
from pathlib import Path

from daemon.watchers.found import PollResult
from daemon.watchers.problems import LEADS_NOWHERE, Problems, refusal


def problem(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def test_a_closed_folder_is_told_for_all_below_it_and_other_troubles_by_themselves() -> None:
    problems, result = Problems(), PollResult()
    refused = refusal("cannot be watched", problem(errno.EACCES))
    problems.troubled = {f"/r/a/{n}": refused for n in range(300)} | {"/r/a": refused, "/r/b/c": refused}
    problems.troubled["/r/a/7/x"] = refusal("cannot be watched", problem(errno.ESTALE))
    problems.standing["/r/a-link"] = LEADS_NOWHERE
    problems.tell(result)
    assert [told.path for told in result.problems] == [
        Path(path) for path in ("/r/a", "/r/a-link", "/r/a/7/x", "/r/b/c")
    ]
    assert [str(path) for path in result.unseen] == ["/r/a", "/r/a/7/x", "/r/b/c"]

    problems.troubled = {f"/r/a/{n}": refused for n in range(2)}
    problems.standing = {}
    result = PollResult()
    problems.tell(result)
    assert [told.path for told in result.problems] == [Path("/r/a/0"), Path("/r/a/1")]
    assert Path("/r/a") in result.recovered


def test_what_to_do_follows_from_what_is_wrong() -> None:
    assert "user that runs elcano" in refusal("cannot be watched", problem(errno.EACCES)).hint
    stale = refusal("cannot be watched", problem(errno.ESTALE))
    assert stale.what == f"cannot be watched: {os.strerror(errno.ESTALE)}"
    assert "mount" in stale.hint
