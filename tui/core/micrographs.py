"""Micrographs of one session: rows fed by the daemon's answers, how they look, and which of them are meant."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.messages.micrographs import MicrographRow, MicrographsAnswer
from tui.core.states import NOT_WHOLE, Shown

BY_HAND = "by hand"
"""In place of a gate's name where a person decided."""

DID_NOT_SUCCEED = "did not succeed"
"""What is said of a step, in place of a gate, that gave no numbers to judge by."""

_SET_ASIDE: Mapping[str, Shown] = {
    "failed": Shown("✗", "failed", "failed"),
    "quarantined": Shown("✗", "set aside", "failed"),
    "vanished": Shown("⊘", "vanished", "cancelled"),
    "ignored": Shown("⊘", "ignored", "cancelled"),
}
_UNPROVEN = frozenset({"seen", "settling"})
_ACCEPTED = Shown("✓", "accepted", "done")
_REJECTED = Shown("✗", "rejected", "warning")
_PASSES = Shown("✓", "passes", "done")
_REFUSED = Shown("»", "refused", "skipped")
_UNDECIDED = Shown("·", "not yet", "waiting")


def show_verdict(passes: bool | None, gate: str, movie_state: str = "") -> Shown:
    """How the verdict on a micrograph looks: the gates', or a person's, or what became of its movie instead."""
    if gate == BY_HAND and passes is not None:
        return _ACCEPTED if passes else _REJECTED
    if movie_state in _SET_ASIDE:
        return _SET_ASIDE[movie_state]
    if passes is None:
        return NOT_WHOLE if movie_state in _UNPROVEN else _UNDECIDED
    return _PASSES if passes else _REFUSED


def verdict_of(told: MicrographRow) -> Shown:
    """How the verdict on a row looks; where numbers are lacking no gate has refused it, its step has failed."""
    lacks = told.passes is False and told.reason == f"{told.gate} {DID_NOT_SUCCEED}"
    return show_verdict(told.passes, told.gate, "failed" if lacks else told.movie_state)


class Micrographs:
    """The micrographs of a session as the daemon has told them; `take` changes them, reading is free."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.rows: list[MicrographRow] = []
        self.seq: int | None = None
        self.counts: Counter[str] = Counter()
        """How many rows have each verdict, by its word."""
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, answer: MicrographsAnswer) -> list[int]:
        """Take an answer, whole or of what changed, and return the rows that it touched."""
        touched = []
        for row in answer.images:
            place = self._places.setdefault(row.image_id, len(self.rows))
            if place == len(self.rows):
                self.rows.append(row)
            elif self.rows[place] != row:
                self.counts[self.verdict(place).word] -= 1
                self.rows[place] = row
            else:
                continue
            self.counts[self.verdict(place).word] += 1
            touched.append(place)
        self.seq = answer.seq
        return touched

    def row_of(self, name: str) -> int | None:
        """Return the row of a micrograph, None where it is not known."""
        return next((row for row, told in enumerate(self.rows) if told.name == name), None)

    def verdict(self, row: int) -> Shown:
        """How the verdict on a row looks."""
        return verdict_of(self.rows[row])

    def may_be_judged(self, row: int) -> bool:
        """Whether a person may accept or reject a row: not before its movie is whole, nor once that was set aside."""
        return self.rows[row].movie_state in {"complete", "done", "failed"}


NUMBERS: Mapping[str, Callable[[MicrographRow], float | None]] = {
    "defocus": lambda row: None if row.defocus_ang is None else row.defocus_ang / 1e4,
    "res": lambda row: row.fit_resolution_ang,
    "astig": lambda row: row.astigmatism_ang,
    "score": lambda row: row.score,
    "drift": lambda row: row.drift_ang,
    "ice": lambda row: row.ice_ring,
}
"""Numbers that rows are filtered and sorted by: defocus in µm, the others as they are told."""

_COMPARISON = re.compile(rf"({'|'.join(NUMBERS)})(<=|>=|<|>)(-?[\d.]+)")
_TESTS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}


@dataclass(frozen=True)
class MicrographFilter:
    """What was typed after `/`: words of name, verdict or reason, and comparisons such as `res>6`; all must hold."""

    words: tuple[str, ...] = ()
    comparisons: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def parse(cls, typed: str) -> "MicrographFilter":
        """Read what was typed; anything is a filter, what is no comparison is a word."""
        words, comparisons = [], []
        for part in typed.lower().split():
            found = _COMPARISON.fullmatch(part)
            limit = None if found is None else _number(found[3])
            if found is None or limit is None:
                words.append(part)
            else:
                comparisons.append((found[1], found[2], limit))
        return cls(tuple(words), tuple(comparisons))

    @property
    def is_empty(self) -> bool:
        """Whether every row is meant."""
        return not (self.words or self.comparisons)

    def keeps(self, row: MicrographRow, verdict: Shown) -> bool:
        """Whether a row is meant; a number that is not known compares with nothing."""
        text = f"{row.name} {verdict.word} {row.gate} {row.reason} {row.warning}".lower()
        if not all(word in text for word in self.words):
            return False
        for name, how, limit in self.comparisons:
            value = NUMBERS[name](row)
            if value is None or not _TESTS[how](value, limit):
                return False
        return True


def sort_key(micrographs: Micrographs, column: str) -> Callable[[int], Any] | None:
    """Return what rows are sorted by; None for as they came."""
    if column == "name":
        return lambda row: micrographs.rows[row].name
    if column == "verdict":
        return lambda row: (micrographs.verdict(row).word, micrographs.rows[row].gate)
    if column == "why":
        return lambda row: micrographs.rows[row].reason or micrographs.rows[row].warning or None
    number = NUMBERS.get(column)
    return None if number is None else lambda row: number(micrographs.rows[row])


def _number(typed: str) -> float | None:
    try:
        return float(typed)
    except ValueError:
        return None
