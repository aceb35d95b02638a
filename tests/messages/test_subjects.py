import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.messages.subjects import ANY, Subjects, escape_token, unescape_token

LEGAL = re.compile(r"[A-Za-z0-9_=-]+")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_any_name_becomes_one_legal_token_and_comes_back(name: str) -> None:
    token = escape_token(name)
    assert LEGAL.fullmatch(token)
    assert unescape_token(token) == name


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("24dec03a", "24dec03a"),
        ("24dec03a.v2", "24dec03a=2Ev2"),
        ("my session", "my=20session"),
        ("*", "=2A"),
        (">", "=3E"),
        ("a=b", "a=3Db"),
        ("Gitter Å", "Gitter=20=C3=85"),
        ("line\nbreak", "line=0Abreak"),
        ("", "="),
    ],
)
def test_escape_is_the_documented_one(name: str, token: str) -> None:
    assert escape_token(name) == token


@pytest.mark.parametrize("token", ["a.b", "=2", "=2e", "a b", "=FF", "a="])
def test_foreign_tokens_are_not_taken_for_escaped_names(token: str) -> None:
    with pytest.raises(ValueError, match=r"token|decode"):
        unescape_token(token)


def test_subjects_are_those_of_magellon() -> None:
    subjects = Subjects()
    assert subjects.step("j-1", "ctf") == "magellon.job.j-1.step.ctf"
    assert subjects.step(ANY, ANY) == "magellon.job.*.step.*"
    assert subjects.job("j-1", "started") == "magellon.job.j-1.started"
    assert subjects.session("24dec03a", "movie.seen") == "magellon.session.24dec03a.movie.seen"
    assert subjects.log("j", "t") == "magellon.log.j.t"
    assert subjects.stage_heartbeat("ctf", "ctf_estimation") == "magellon.plugins.heartbeat.ctf.ctf_estimation"
    assert subjects.node_heartbeat("gpu1.site.org") == "magellon.node.gpu1=2Esite=2Eorg.heartbeat"
    assert (subjects.step_stream, subjects.session_stream) == ("MAGELLON_STEP_EVENTS", "MAGELLON_SESSION_EVENTS")
    assert Subjects(instance="krios2").command("session.import") == "elcano.krios2.cmd.session.import"
    assert Subjects(instance="krios2").job_bucket == "elcano-krios2-jobs"
    assert Subjects(prefix="em.magellon").step_stream == "EM_MAGELLON_STEP_EVENTS"


def test_a_session_named_like_a_wildcard_stays_one_name() -> None:
    assert Subjects().session("*", "closed") == "magellon.session.=2A.closed"


def test_what_was_asked_is_read_from_the_subject() -> None:
    subjects = Subjects()
    assert subjects.asked_name("elcano.main.cmd.session.import") == ("cmd", "session.import")
    assert subjects.asked_name("elcano.main.query.jobs") == ("query", "jobs")
    assert subjects.asked_name("elcano.other.query.jobs") is None


@pytest.mark.parametrize(
    ("pattern", "stream"),
    [
        ("magellon.job.*.step.*", "MAGELLON_STEP_EVENTS"),
        ("magellon.job.j.step.ctf", "MAGELLON_STEP_EVENTS"),
        ("magellon.job.j.started", "MAGELLON_SESSION_EVENTS"),
        ("magellon.session.s.>", "MAGELLON_SESSION_EVENTS"),
        ("magellon.session.s.movie.seen", "MAGELLON_SESSION_EVENTS"),
        ("$KV.elcano-main-jobs.>", "KV_elcano-main-jobs"),
        ("magellon.job.j.>", None),
        ("magellon.>", None),
        ("magellon.session", None),
        ("magellon.log.j.t", None),
    ],
)
def test_a_stream_is_named_only_when_it_keeps_all_of_a_pattern(pattern: str, stream: str | None) -> None:
    assert Subjects().stream_of(pattern) == stream


@pytest.mark.parametrize(
    "wrong", [{"prefix": "a b"}, {"prefix": "a.>"}, {"prefix": ""}, {"instance": "x.y"}, {"instance": ""}]
)
def test_wrong_configuration_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Subjects(**wrong)


@pytest.mark.parametrize("name", ["", "Session.import", "a b", "a..b", "a.>", "*"])
def test_wrong_command_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a command"):
        Subjects().command(name)
