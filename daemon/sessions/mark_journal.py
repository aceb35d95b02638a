"""What people have said of a session's images, kept beside its results: a line for each time that somebody spoke.

The line is on disk before the database hears of it. Whoever dies in between, or loses the database, finds the line
again and takes it up; what the database has heard already is not told it twice.
"""

import errno
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from daemon.domain.identity import canonical_json
from daemon.domain.session import Session
from daemon.errors import FileUnreadable
from daemon.formats.atomic import append_line
from daemon.formats.detached import PatientCalls
from daemon.formats.own_file import open_own_file
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.folders import RECORDS
from daemon.sessions.telling import queue
from daemon.store import sessions as session_table
from daemon.store.marks import MarkImage, foreign_images, heard_marks
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_WORDS_PER_COMMIT = 500
JOURNAL = "marks.jsonl"
MOST_BYTES = 256 * 2**20
"""Of a journal: millions of images judged."""
_MOST_NAMED = 5
_LATEST_S = 1e11
"""No clock says more; the calendar of the database ends soon after."""


@dataclass(frozen=True)
class Word:
    """What somebody has said of some images at once: they pass, they do not, or (None) the gates are to say."""

    session_id: str
    passes: bool | None
    asked_by: str
    why: str
    at_s: float
    images: Mapping[str, str]
    """Names by image id."""

    def marks(self) -> list[MarkImage]:
        """Return what the database is to be told."""
        return [
            MarkImage(self.session_id, image_id, self.passes, self.asked_by, self.why, at_s=self.at_s)
            for image_id in self.images
        ]


def journal_path(home: Path) -> Path:
    """Return where the words of a session lie."""
    return home / RECORDS / JOURNAL


def write_word(home: Path, word: Word, *, mode: int | None = None, group: str | None = None) -> None:
    """Add a word, whole or not at all. Raises FileNotWritten."""
    append_line(journal_path(home), canonical_json(vars(word) | {"images": dict(word.images)}), mode=mode, group=group)


def read_words(home: Path) -> list[Word]:
    """Read every word in the order in which they were said; a line that is damaged is left out, and told.

    Raises FileUnreadable.
    """
    path = journal_path(home)
    try:
        lines = _read_bytes(path).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileUnreadable(path, error) from error
    words = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            words.append(_read(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            # The last line of a daemon that was killed while it wrote; nobody was answered that it holds.
            log.warning("a line of what people said of images is damaged and left out", path=str(path), line=number)
    return words


def _read_bytes(path: Path) -> bytes:
    with os.fdopen(open_own_file(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES // 2**20} MiB")
        return file.read(MOST_BYTES)


def _read(content: Mapping[str, Any]) -> Word:
    passes, at_s = content["passes"], float(content["at_s"])
    if passes is not None and not isinstance(passes, bool):
        raise ValueError("passes is neither true, false nor null")
    if not 0 <= at_s <= _LATEST_S:  # what is no number at all is not either
        raise ValueError("at_s is no time")
    return Word(
        session_id=_read_text(content["session_id"]),
        passes=passes,
        asked_by=_read_text(content["asked_by"]),
        why=_read_text(content["why"]),
        at_s=at_s,
        images={_read_text(image_id): _read_text(name) for image_id, name in content["images"].items()},
    )


def _read_text(value: Any) -> str:
    """Return text that a database and a message can hold. Raises UnicodeEncodeError for half a character."""
    text = str(value)
    text.encode()
    return text


async def take_up_words(
    store: Store,
    subjects: Subjects,
    session: Session,
    deciding: AbstractAsyncContextManager[Any],
    calls: PatientCalls,
) -> None:
    """Tell the database what the journal of a session holds and it has not heard.

    `deciding` is held while that is found out and committed. Raises FileUnreadable, FileUnanswered, StoreUnavailable.
    """
    words = await calls.call(journal_path(session.home), partial(read_words, session.home))
    mine = [word for word in words if word.session_id == session.session_id]
    if len(mine) < len(words):
        log.warning(
            "what people said of images of another session lies in this one's home, and is left alone",
            session=session.name,
            path=str(journal_path(session.home)),
        )
    if not mine:
        return
    mine = await _leave_out_foreign(store, session, mine)
    async with deciding:
        ids = {image.name: image.image_id for image in await session_table.images(store, session.session_id)}
        missing = list(_unheard(mine, ids, await heard_marks(store, session.session_id)))
        for begin in range(0, len(missing), _WORDS_PER_COMMIT):
            part = missing[begin : begin + _WORDS_PER_COMMIT]
            told = [queue(subjects, event) for event in tell_marks(subjects, session, part)]
            await store.commit(*(mark for mark, _ in part), *told)
    if missing:
        log.info("what people said of images is taken up from the records", session=session.name, words=len(missing))


async def _leave_out_foreign(store: Store, session: Session, words: Sequence[Word]) -> list[Word]:
    """Return what was said, but of images that are another session's: nobody judges those from here."""
    foreign = await foreign_images(store, session.session_id, {image_id for word in words for image_id in word.images})
    if foreign:
        log.warning(
            "what people said of images of another session is left out",
            session=session.name,
            path=str(journal_path(session.home)),
            images=sorted(foreign)[:_MOST_NAMED],
            number=len(foreign),
        )
    kept = ({image: name for image, name in word.images.items() if image not in foreign} for word in words)
    return [replace(word, images=images) for word, images in zip(words, kept, strict=True)]


def _unheard(
    words: Sequence[Word], ids: Mapping[str, str], heard: Collection[MarkImage]
) -> Iterator[tuple[MarkImage, str]]:
    """Yield what was said of each image after the last thing the database has heard of it, with the image's name."""
    said: list[tuple[MarkImage, str]] = []
    last: dict[str, int] = {}
    for word in words:
        for mark, name in zip(word.marks(), word.images.values(), strict=True):
            # A manifest that came later may name an image by another id than it had.
            known = replace(mark, image_id=ids.get(name, mark.image_id))
            if known.as_kept() in heard:
                last[known.image_id] = len(said)
            said.append((known, name))
    for place, (mark, name) in enumerate(said):
        if place > last.get(mark.image_id, -1):
            yield mark, name


def tell_marks(subjects: Subjects, session: Session, marks: Sequence[tuple[MarkImage, str]]) -> list[Event]:
    """Return the events that tell what was said of images, given with their names."""
    ref = SessionRef(session.session_id, session.name)
    return [
        events.image_marked(
            subjects,
            ref,
            image_id=mark.image_id,
            image_name=name,
            passes=mark.passes,
            asked_by=mark.asked_by,
            why=mark.why,
            at_s=mark.at_s,
        )
        for mark, name in marks
        if mark.at_s is not None
    ]
