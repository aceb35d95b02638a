"""The settle rule: by table, and by what must hold for every history."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.formats.structure import MovieStructure
from daemon.watchers.settle import (
    Complete,
    History,
    Ignore,
    Observation,
    Quarantine,
    SettleRule,
    Verdict,
    Wait,
    remember,
)
from daemon.watchers.tail import ZeroTail

WHOLE = MovieStructure(True, 40, 4096, 4096, "", tail_is_zero=False)
SHORT = replace(WHOLE, frame_count=30)
CUT = replace(WHOLE, whole=False, frame_count=12, reason="12 of 40 frames, 201327616 of 671089664 bytes")
SPARSE = replace(WHOLE, tail_is_zero=True)
IMAGE = replace(WHOLE, frame_count=1)
RULE = SettleRule()


def silent(
    structure: MovieStructure | None,
    for_s: float,
    *,
    size_bytes: int = 1000,
    tail: ZeroTail | None = None,
    problem: str = "",
) -> History:
    """A file that has been the same in every look of this long a time."""
    first = Observation(100.0, size_bytes, 7)
    return remember(remember(None, first), Observation(100.0 + for_s, size_bytes, 7, structure, tail, problem))


@pytest.mark.parametrize(
    ("structure", "for_s", "expected", "verdict"),
    [
        pytest.param(WHOLE, 4.9, 40, Wait, id="whole, silence too short"),
        pytest.param(WHOLE, 5.0, 40, Complete, id="whole, all frames"),
        pytest.param(WHOLE, 14.9, None, Wait, id="whole, count unknown, not long enough"),
        pytest.param(WHOLE, 15.0, None, Complete, id="whole, count unknown"),
        pytest.param(SHORT, 60.0, 40, Wait, id="TIFF written in place pauses for a minute"),
        pytest.param(SHORT, 120.0, 40, Complete, id="exposure was stopped early"),
        pytest.param(WHOLE, 14.9, 30, Wait, id="more frames than usual"),
        pytest.param(WHOLE, 15.0, 30, Complete, id="more frames than usual, silent"),
        pytest.param(replace(WHOLE, frame_count=1590), 15.0, 1600, Complete, id="EER a few hardware frames short"),
        pytest.param(replace(WHOLE, frame_count=1500), 15.0, 1600, Wait, id="EER a hundred hardware frames short"),
        pytest.param(CUT, 1799.0, 40, Wait, id="truncated"),
        pytest.param(CUT, 1800.0, 40, Quarantine, id="truncated for half an hour"),
        pytest.param(IMAGE, 14.9, None, Wait, id="one frame so far"),
        pytest.param(IMAGE, 15.0, None, Ignore, id="a single image"),
        pytest.param(replace(WHOLE, frame_count=None), 14.0, 40, Wait, id="frames cannot be counted"),
        pytest.param(None, 30.0, 40, Wait, id="changed while it was opened"),
    ],
)
def test_structure_count_and_silence(
    structure: MovieStructure | None, for_s: float, expected: int | None, verdict: type[Verdict]
) -> None:
    assert isinstance(RULE.judge(silent(structure, for_s), expected_frames=expected), verdict)


@pytest.mark.parametrize(
    ("tail", "for_s", "verdict"),
    [
        pytest.param(ZeroTail(40, 40, 0.98), 19.0, Wait, id="masked last rows"),
        pytest.param(ZeroTail(40, 40, 0.98), 20.0, Complete, id="masked last rows, silent"),
        pytest.param(ZeroTail(40, 38, 1.0), 299.0, Wait, id="shutter closed early"),
        pytest.param(ZeroTail(40, 38, 1.0), 300.0, Complete, id="shutter closed early, silent"),
        pytest.param(ZeroTail(40, 38, 0.5), 1799.0, Wait, id="copy stopped inside a frame"),
        pytest.param(ZeroTail(40, 38, 0.5), 1800.0, Quarantine, id="copy stopped inside a frame, given up"),
        pytest.param(ZeroTail(40, 20, 1.0), 1799.0, Wait, id="half the frames blank"),
        pytest.param(ZeroTail(40, 20, 1.0), 1800.0, Quarantine, id="half the frames blank, given up"),
        pytest.param(ZeroTail(40, 0, 0.0), 1800.0, Quarantine, id="nothing but zeros"),
        pytest.param(None, 299.0, Wait, id="tail of another format"),
        pytest.param(None, 300.0, Complete, id="tail of another format, silent"),
    ],
)
def test_zero_tails(tail: ZeroTail | None, for_s: float, verdict: type[Verdict]) -> None:
    assert isinstance(RULE.judge(silent(SPARSE, for_s, tail=tail), expected_frames=40), verdict)


def test_an_empty_file_waits_and_is_then_quarantined_with_a_reason() -> None:
    assert isinstance(RULE.judge(silent(None, 1799.0, size_bytes=0), expected_frames=None), Wait)
    verdict = RULE.judge(silent(None, 1800.0, size_bytes=0), expected_frames=None)
    assert isinstance(verdict, Quarantine)
    assert "0 bytes" in verdict.reason
    assert "30 min" in verdict.reason


def test_a_truncated_movie_is_refused_with_its_numbers_and_what_to_do() -> None:
    verdict = RULE.judge(silent(CUT, 1800.0), expected_frames=40)
    assert isinstance(verdict, Quarantine)
    assert verdict.reason == (
        "12 of 40 frames, 201327616 of 671089664 bytes. Nothing changed for 30 min: "
        "copy the movie again from the camera while the original is still there, or remove it."
    )


def test_an_unreadable_file_is_refused_with_other_advice() -> None:
    verdict = RULE.judge(silent(None, 1800.0, problem="cannot be read: Permission denied"), expected_frames=40)
    assert isinstance(verdict, Quarantine)
    assert "Permission denied" in verdict.reason
    assert "permissions" in verdict.reason


def test_a_wait_says_what_is_missing() -> None:
    verdict = RULE.judge(silent(SHORT, 30.0), expected_frames=40)
    assert isinstance(verdict, Wait)
    assert verdict.reason == "30 of the 40 frames that this session's movies have"


class TestRenamedIntoPlace:
    def test_complete_at_once_when_all_expected_frames_are_there(self) -> None:
        assert isinstance(RULE.judge(silent(WHOLE, 0.0), expected_frames=40, renamed_into_place=True), Complete)

    @pytest.mark.parametrize("expected", [None, 50, 30])
    def test_otherwise_it_waits_like_any_other(self, expected: int | None) -> None:
        """A transfer of a file that is still growing at its source also ends with a rename."""
        assert isinstance(RULE.judge(silent(WHOLE, 1.0), expected_frames=expected, renamed_into_place=True), Wait)

    def test_a_zero_tail_is_not_waived(self) -> None:
        history = silent(SPARSE, 1.0, tail=ZeroTail(40, 40, 0.98))
        assert isinstance(RULE.judge(history, expected_frames=40, renamed_into_place=True), Wait)

    def test_one_look_is_not_enough(self) -> None:
        history = remember(None, Observation(1.0, 1000, 7, WHOLE))
        assert isinstance(RULE.judge(history, expected_frames=40, renamed_into_place=True), Wait)


def test_structure_is_read_only_after_enough_silence() -> None:
    history = remember(None, Observation(100.0, 1000, 7))
    assert not RULE.needs_structure(None, Observation(100.0, 1000, 7))
    assert not RULE.needs_structure(history, Observation(104.0, 1000, 7))
    assert RULE.needs_structure(history, Observation(105.0, 1000, 7))
    assert RULE.needs_structure(history, Observation(100.1, 1000, 7), renamed_into_place=True)
    assert not RULE.needs_structure(history, Observation(200.0, 1001, 7))
    assert not RULE.needs_structure(history, Observation(200.0, 1000, 8))


def test_a_structure_that_changes_under_a_constant_size_and_time_starts_the_silence_anew() -> None:
    history = remember(silent(CUT, 100.0), Observation(210.0, 1000, 7, WHOLE))
    assert history.silent_for_s == 0.0
    assert isinstance(RULE.judge(history, expected_frames=40), Wait)
    history = remember(history, Observation(212.0, 1000, 7))
    history = remember(history, Observation(215.0, 1000, 7, WHOLE))
    assert isinstance(RULE.judge(history, expected_frames=40), Complete)


def test_a_server_clock_that_is_hours_off_or_runs_backwards_changes_nothing() -> None:
    hour_ns = 3600 * 10**9
    for mtime_ns in (0, 10**18 + hour_ns, -hour_ns):
        history = remember(None, Observation(50.0, 1000, mtime_ns))
        history = remember(history, Observation(55.0, 1000, mtime_ns, WHOLE))
        assert isinstance(RULE.judge(history, expected_frames=40), Complete)
        history = remember(history, Observation(56.0, 1000, mtime_ns - 1, WHOLE))
        assert isinstance(RULE.judge(history, expected_frames=40), Wait)


STRUCTURES = st.sampled_from([None, WHOLE, SHORT, CUT, SPARSE, IMAGE])
TAILS = st.sampled_from([None, ZeroTail(40, 40, 0.98), ZeroTail(40, 38, 1.0), ZeroTail(40, 11, 0.3)])
LOOKS = st.lists(
    st.tuples(
        st.floats(0.0, 400.0), st.sampled_from([0, 1000, 1001]), st.sampled_from([7, 8]), STRUCTURES, TAILS,
        st.sampled_from(["", "", "", "cannot be read"]),
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip
EXPECTED = st.sampled_from([None, 1, 30, 40])


def replay(looks: list[tuple[float, int, int, MovieStructure | None, ZeroTail | None, str]]) -> list[History]:
    at_s, history, histories = 0.0, None, []
    for after_s, size_bytes, mtime_ns, structure, tail, problem in looks:
        at_s += after_s
        seen_structure = None if problem or size_bytes == 0 else structure
        history = remember(history, Observation(at_s, size_bytes, mtime_ns, seen_structure, tail, problem))
        histories.append(history)
    return histories


@settings(deadline=None, max_examples=300)
@given(looks=LOOKS, expected=EXPECTED, renamed=st.booleans())
def test_complete_only_when_whole_silent_and_looked_at_twice(
    looks: list[tuple[float, int, int, MovieStructure | None, ZeroTail | None, str]],
    expected: int | None,
    renamed: bool,
) -> None:
    histories = replay(looks)
    for index, history in enumerate(histories):
        verdict = RULE.judge(history, expected_frames=expected, renamed_into_place=renamed)
        if not isinstance(verdict, Complete | Ignore):
            continue
        now, before = history.last, histories[index - 1].last
        assert index > 0
        assert now.structure is not None
        assert now.structure.whole
        assert (now.size_bytes, now.mtime_ns) == (before.size_bytes, before.mtime_ns)
        unproven = not renamed or now.structure.frame_count != expected
        if unproven:
            changed_at_s = max(
                (old.last.at_s for old in histories[: index + 1] if old.unchanged_looks == 1), default=float("-inf")
            )
            assert now.at_s - changed_at_s >= RULE.min_quiet_s


@settings(deadline=None, max_examples=300)
@given(looks=LOOKS, expected=EXPECTED, renamed=st.booleans(), later_s=st.floats(0.0, 4000.0))
def test_a_verdict_stands_as_long_as_nothing_changes(
    looks: list[tuple[float, int, int, MovieStructure | None, ZeroTail | None, str]],
    expected: int | None,
    renamed: bool,
    later_s: float,
) -> None:
    history = replay(looks)[-1]
    verdict = RULE.judge(history, expected_frames=expected, renamed_into_place=renamed)
    again = remember(history, replace(history.last, at_s=history.last.at_s + later_s))
    verdict_again = RULE.judge(again, expected_frames=expected, renamed_into_place=renamed)
    if not isinstance(verdict, Wait):
        assert type(verdict_again) is type(verdict)


@settings(deadline=None, max_examples=200)
@given(structure=STRUCTURES, tail=TAILS, expected=EXPECTED, size_bytes=st.sampled_from([0, 1000]))
def test_following_the_advice_always_ends_in_a_verdict(
    structure: MovieStructure | None, tail: ZeroTail | None, expected: int | None, size_bytes: int
) -> None:
    """A silent file is judged within the give-up time and a bounded number of looks, none of them too early."""
    opened = WHOLE if structure is None else structure
    history = remember(None, Observation(1e6, size_bytes, 7))
    for _ in range(400):
        verdict = RULE.judge(history, expected_frames=expected)
        if not isinstance(verdict, Wait):
            break
        assert 0.0 < verdict.look_again_after_s <= RULE.slowest_look_s
        now = Observation(history.last.at_s + verdict.look_again_after_s, size_bytes, 7)
        if RULE.needs_structure(history, now):
            now = replace(now, structure=opened, zero_tail=tail)
        history = remember(history, now)
    assert not isinstance(verdict, Wait)
    assert history.silent_for_s <= RULE.give_up_s + RULE.slowest_look_s
