"""Rows of micrographs: how answers change them, what filters and sorting mean, how verdicts look."""

import msgspec
import pytest

from daemon.domain import states
from daemon.messages.micrographs import MicrographRow, MicrographsAnswer
from tests.tui.window import micrographs, row
from tui.core.micrographs import DID_NOT_SUCCEED, MicrographFilter, Micrographs, show_verdict, sort_key, verdict_of


def answer(*rows: list[object], seq: int = 1) -> MicrographsAnswer:
    return msgspec.convert({"session": "s", "seq": seq, "images": list(rows)}, MicrographsAnswer)


@pytest.fixture
def known() -> Micrographs:
    known = Micrographs("24dec03a")
    known.take(msgspec.convert(micrographs(10), MicrographsAnswer))
    return known


def test_answers_bring_rows_and_change_them_in_place(known: Micrographs) -> None:
    assert (len(known), known.seq) == (10, 100)
    assert known.take(answer(row(1), row(2, passes=False, gate="ice_ring"), row(10), seq=7)) == [2, 10]
    assert known.seq == 7
    assert known.rows[2].gate == "ice_ring"
    assert known.row_of("24dec03a_00010ex") == 10
    assert known.row_of("other") is None


@pytest.mark.parametrize(
    ("passes", "gate", "movie_state", "shown"),
    [
        (True, "", "done", "✓ passes"),
        (False, "ice_ring", "done", "» refused"),
        (True, "by hand", "done", "✓ accepted"),
        (False, "by hand", "failed", "✗ rejected"),
        (None, "", "complete", "· not yet"),
        (None, "", "settling", "· not whole"),
        (None, "", "quarantined", "✗ set aside"),
        (False, "ctf_estimation", "failed", "✗ failed"),
    ],
)
def test_every_verdict_has_a_sign_and_a_word(passes: bool | None, gate: str, movie_state: str, shown: str) -> None:
    assert str(show_verdict(passes, gate, movie_state)) == shown


def test_what_failed_was_refused_by_no_gate() -> None:
    lacking = row(
        1, passes=False, gate="ctf_estimation", reason=f"ctf_estimation {DID_NOT_SUCCEED}", movie_state="complete"
    )
    refused = row(2, passes=False, gate="ctf_estimation", reason="ctf_estimation: the fit is not to be trusted")
    assert [str(verdict_of(msgspec.convert(told, MicrographRow))) for told in (lacking, refused)] == [
        "✗ failed",
        "» refused",
    ]
    assert DID_NOT_SUCCEED == states.DID_NOT_SUCCEED


def kept(known: Micrographs, typed: str) -> list[int]:
    chosen = MicrographFilter.parse(typed)
    return [n for n in range(len(known)) if chosen.keeps(known.rows[n], known.verdict(n))]


def test_a_filter_has_words_and_comparisons_that_all_must_hold(known: Micrographs) -> None:
    assert kept(known, "") == list(range(10))
    assert kept(known, "REJECTED crack") == [3]
    assert kept(known, "res>6") == [3, 4, 5, 9]
    assert kept(known, "res>=6.5 res<8") == [3, 4, 9]
    assert kept(known, "drift<5 passes") == [9]
    assert kept(known, "defocus<1") == [0, 1]
    assert kept(known, "res>x") == [], "what is no comparison is a word"
    assert kept(known, "res>1.2.3") == []


def test_rows_are_sorted_by_any_column(known: Micrographs) -> None:
    by_res = sort_key(known, "res")
    assert by_res is not None
    assert [by_res(n) for n in (0, 7)] == [3.5, None]
    by_verdict = sort_key(known, "verdict")
    assert by_verdict is not None
    assert by_verdict(4) < by_verdict(1)
    assert sort_key(known, "") is None


def test_only_what_is_whole_and_not_set_aside_may_be_judged_by_hand(known: Micrographs) -> None:
    assert [n for n in range(10) if not known.may_be_judged(n)] == [8]


def test_verdicts_are_counted_as_they_change(known: Micrographs) -> None:
    assert known.counts["rejected"] == 1
    known.take(answer(row(3, passes=True, gate=""), row(1)))
    assert (known.counts["rejected"], known.counts["passes"]) == (0, 6)
    assert sum(known.counts.values()) == 10


def test_a_row_says_what_its_daemon_may_not_know() -> None:
    told = msgspec.convert(row(7), MicrographRow)
    assert (told.defocus_ang, told.is_fit_confident) == (None, None)
