"""A missing program skips a test on a user's machine, and fails it where it was promised."""

import pytest

from tests.oracles import find_program


def test_a_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELCANO_REQUIRE_ORACLES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Debian package nowhere"):
        find_program("no-such-program", "nowhere")


def test_a_missing_program_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELCANO_REQUIRE_ORACLES", "1")
    with pytest.raises(pytest.fail.Exception, match="ELCANO_REQUIRE_ORACLES"):
        find_program("no-such-program", "nowhere")


def test_a_program_that_is_there_is_found() -> None:
    assert find_program("sh", "dash").endswith("/sh")
