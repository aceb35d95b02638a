"""What people said of images, beside the results: every line comes back, and no damage to one spoils another."""

import errno
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import DiskFull, FileNotWritten, FileUnreadable
from daemon.sessions.mark_journal import MOST_BYTES, Word, journal_path, read_words, write_word

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_WORDS = st.builds(
    Word,
    st.just("s"),
    st.sampled_from((True, False, None)),
    _TEXT,
    _TEXT,
    st.floats(0, 4e9),
    st.dictionaries(_TEXT, _TEXT, min_size=1, max_size=4),
)
WORD = Word("s", False, "ada (operator)", "crack in the ice", 1_700_000_000.25, {"1": "a", "2": "b"})


@settings(deadline=None, max_examples=25)
@given(st.lists(_WORDS, max_size=5))
def test_every_word_comes_back_in_order(words: list[Word]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for word in words:
            write_word(Path(folder), word)
        assert read_words(Path(folder)) == words


def test_what_a_killed_writer_left_is_left_out_and_spoils_no_other_line(tmp_path: Path) -> None:
    write_word(tmp_path, WORD, mode=0o640)
    path = journal_path(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o640
    whole = path.read_bytes()
    for cut in range(1, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        assert read_words(tmp_path) == [WORD]
        write_word(tmp_path, WORD)
        assert read_words(tmp_path) == [WORD, WORD]
    path.write_bytes(whole[:-1])
    assert read_words(tmp_path) == [WORD], "only the end of the line was not written"


def said(**instead: Any) -> str:
    """A line that is JSON, with something in it that nobody can have said."""
    return json.dumps({**vars(WORD), "images": dict(WORD.images), **instead})


@pytest.mark.parametrize(
    "line",
    [
        *("7", "[]", "{}", '{"passes": "no"}', "[" * 100_000, "\x00"),
        *(said(at_s=at_s) for at_s in (math.nan, math.inf, 1e300, -1.0, 10**400, "noon", None)),
        *(said(**{key: "\ud800"}) for key in ("session_id", "asked_by", "why")),
        *(said(images=images) for images in ({"\ud800": "a"}, {"1": "\ud800"}, ["a"])),
        *(said(passes=passes) for passes in (1, 0.0, "yes")),
    ],
)
def test_a_line_that_says_nothing_is_left_out(tmp_path: Path, line: str) -> None:
    write_word(tmp_path, WORD)
    with journal_path(tmp_path).open("a") as file:
        file.write(line + "\n")
    assert read_words(tmp_path) == [WORD]


def test_a_journal_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    journal_path(tmp_path).mkdir(parents=True)
    with pytest.raises(FileUnreadable):
        read_words(tmp_path)
    with pytest.raises(FileNotWritten):
        write_word(tmp_path, WORD)


def test_a_link_or_a_device_in_its_place_is_neither_read_nor_written(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(said() + "\n")
    path = journal_path(tmp_path)
    path.parent.mkdir()
    for target in (elsewhere, Path("/dev/zero"), tmp_path / "nowhere"):
        path.symlink_to(target)
        with pytest.raises(FileUnreadable, match="link"):
            read_words(tmp_path)
        with pytest.raises(FileNotWritten, match="link"):
            write_word(tmp_path, WORD)
        path.unlink()
    assert elsewhere.read_text() == said() + "\n"
    assert not (tmp_path / "nowhere").exists()
    os.mkfifo(path)
    with pytest.raises(FileUnreadable, match="pipe"):
        read_words(tmp_path)
    with pytest.raises(FileNotWritten, match="pipe"):
        write_word(tmp_path, WORD)


def test_a_journal_larger_than_any_is_not_read(tmp_path: Path) -> None:
    write_word(tmp_path, WORD)
    os.truncate(journal_path(tmp_path), MOST_BYTES + 1)
    with pytest.raises(FileUnreadable, match="256 MiB"):
        read_words(tmp_path)


def test_a_word_for_which_there_is_no_room_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_word(tmp_path, WORD)
    before = journal_path(tmp_path).read_bytes()
    write = os.write

    def write_some(descriptor: int, content: bytes) -> int:
        if len(content) < len(before):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content[:20])

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(DiskFull):
        write_word(tmp_path, WORD)
    assert journal_path(tmp_path).read_bytes() == before
