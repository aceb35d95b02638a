"""The latest lines of the log, kept for those who ask."""

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from daemon.app.log_book import LogBook
from daemon.messages.commands import Reply, encode_reply
from daemon.messages.news import LogEntry, LogsAnswer, LogsQuery

pytestmark = pytest.mark.anyio


@pytest.fixture
def keep() -> Iterator[Callable[..., LogBook]]:
    """Make a book that is open, with logging as `elcano run` sets it up."""
    before, level = structlog.get_config(), logging.getLogger().level
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    logging.getLogger().setLevel("INFO")
    books: list[LogBook] = []

    def make(*limits: int) -> LogBook:
        books.append(LogBook(*limits))
        books[-1].open()
        return books[-1]

    yield make
    for book in books:
        book.close()
    logging.getLogger().setLevel(level)
    structlog.configure(**before)


async def ask(book: LogBook, run: str = "", after: int = 0, limit: int = 100) -> LogsAnswer:
    return await book.answer(LogsQuery(run=run, after=after, limit=limit), "ada (viewer)")


async def lines_of(book: LogBook) -> list[LogEntry]:
    return (await ask(book)).lines


async def test_a_line_has_what_its_writer_bound(keep: Callable[..., LogBook]) -> None:
    book = keep()
    log = structlog.get_logger("task")
    with bound_contextvars(session="24dec03a", image="x", stage="ctf_estimation", task="t1", path="/gpfs/x.tif"):
        log.warning("no fit", resolution_ang=12.5)
    log.debug("not at this level")
    logging.getLogger("nats").error("lost %s", "it")
    noted, foreign = await lines_of(book)
    assert (noted.level, noted.message, noted.source) == ("warning", "no fit", "task")
    assert (noted.session, noted.image, noted.stage, noted.task_id) == ("24dec03a", "x", "ctf_estimation", "t1")
    assert noted.facts == {"path": "/gpfs/x.tif", "resolution_ang": "12.5"}
    assert (foreign.level, foreign.message, foreign.source) == ("error", "lost it", "nats")


async def test_each_answer_goes_on_where_the_last_ended(keep: Callable[..., LogBook]) -> None:
    book = keep()
    log = logging.getLogger("x")
    for number in range(5):
        log.warning("%d", number)
    first = await ask(book)
    assert [line.message for line in first.lines] == ["0", "1", "2", "3", "4"]
    log.warning("5")
    second = await ask(book, first.run, first.last)
    assert [line.message for line in second.lines] == ["5"]
    assert (await ask(book, second.run, second.last)).lines == []
    of_another_run = await ask(book, "another", 99)
    assert len(of_another_run.lines) == 6
    assert [line.seq for line in (await ask(book, limit=2)).lines] == [5, 6]


async def test_the_oldest_go_first_by_lines_and_by_characters(keep: Callable[..., LogBook]) -> None:
    by_lines, by_characters = keep(3), keep(100, 1000)
    for number in range(10):
        logging.getLogger("x").warning("%d %s", number, "y" * 300)
    told = await ask(by_lines)
    assert [line.seq for line in told.lines] == [8, 9, 10]
    assert (told.first, told.last) == (8, 10)
    assert [line.seq for line in await lines_of(by_characters)] == [8, 9, 10]


async def test_a_hostile_line_can_be_sent_and_is_not_endless(
    keep: Callable[..., LogBook], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # no report of a test could carry such a line
    book = keep()
    logging.getLogger("x").warning("\udcff\x1b[31m%s", "z" * 30_000)
    try:
        int("disk \x07 gone")
    except ValueError:
        logging.getLogger("x").exception("failed")
        structlog.get_logger("x").error("failed too", exc_info=True)
    long, failed, failed_too = await lines_of(book)
    assert long.message.startswith("\\xff\\x1b[31mzzz")
    assert long.message.endswith("… (+10006 characters)")
    for line in (failed, failed_too):
        assert "disk \\x07 gone" in line.facts["exception"]
        assert "\n" in line.facts["exception"]
    encode_reply(Reply(ok=True, data=await ask(book)))


async def test_a_closed_book_hears_nothing(keep: Callable[..., LogBook]) -> None:
    book = keep()
    book.close()
    logging.getLogger("x").warning("too late")
    assert await lines_of(book) == []


async def test_the_lines_of_one_task_are_the_latest_of_that_task(keep: Callable[..., LogBook]) -> None:
    book = keep()
    log = structlog.get_logger("task")
    for number in range(6):
        with bound_contextvars(task=f"t{number % 2}"):
            log.warning("a line", number=number)
    told = await book.answer(LogsQuery(task_id="t1", limit=2), "ada (viewer)")
    assert [line.facts["number"] for line in told.lines] == ["3", "5"]
    assert (await book.answer(LogsQuery(task_id="t7"), "ada (viewer)")).lines == []
