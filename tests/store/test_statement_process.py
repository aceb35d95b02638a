"""The processes that strangers' SQL runs in: each ends when it must, and takes nothing with it."""

import asyncio
import os
import pickle
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from daemon.errors import QueryRefused
from daemon.store import sandbox, statement_run
from daemon.store.statement_process import StatementEnded, StatementProcess, read_said
from daemon.store.store import Store

pytestmark = pytest.mark.anyio

_DEAF = "SELECT levenshtein(repeat('x', 2_000_000), repeat('y', 2_000_000))"
"""An hour within one function, which looks for no interrupt."""


async def test_a_statement_that_hears_no_interrupt_is_stopped(store: Store) -> None:
    for _ in range(3):  # more than there are threads: they would all be taken
        with pytest.raises(QueryRefused, match=r"stopped after .* of 0\.3 s"):
            await store.user_query(_DEAF, timeout_s=0.3)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)


async def test_a_caller_that_goes_away_stops_its_statement(store: Store) -> None:
    for _ in range(3):  # more than there are threads: they would all be taken if none stopped
        with anyio.move_on_after(0.1):
            await store.user_query(_DEAF, timeout_s=3600)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)


def statement_processes() -> list[int]:
    """Processes of ours that people's SQL runs in."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == os.getpid() and b"daemon.store.statement_run" in words:
            found.append(int(entry.name))
    return found


async def test_closing_the_store_stops_what_runs(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "elcano.duckdb")
    before = await asyncio.to_thread(statement_processes)

    async def ask() -> None:
        with pytest.raises((QueryRefused, asyncio.CancelledError)):
            await store.user_query(_DEAF, timeout_s=3600)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        while not set(await asyncio.to_thread(statement_processes)) - set(before):
            await anyio.lowlevel.checkpoint()
        await asyncio.to_thread(store.close)
    assert set(await asyncio.to_thread(statement_processes)) <= set(before)
    Store.open(tmp_path / "elcano.duckdb").close()


async def test_a_statement_that_ends_its_process_ends_nothing_else(store: Store) -> None:
    before = await asyncio.to_thread(statement_processes)

    async def ask() -> None:
        with pytest.raises(QueryRefused, match=r"ended before it had answered \(killed by SIGSEGV\)"):
            await store.user_query(_DEAF, timeout_s=3600)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        while not (started := set(await asyncio.to_thread(statement_processes)) - set(before)):
            await anyio.lowlevel.checkpoint()
        os.kill(started.pop(), signal.SIGSEGV)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)


async def test_a_spare_process_that_was_killed_is_not_asked(store: Store) -> None:
    before = await asyncio.to_thread(statement_processes)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)
    (spare,) = set(await asyncio.to_thread(statement_processes)) - set(before)
    os.kill(spare, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, spare, os.WEXITED | os.WNOWAIT)
    assert (await store.user_query("SELECT 2")).rows == ((2,),)


async def test_a_process_without_work_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_IDLE_S", 0.0)
    before = await asyncio.to_thread(statement_processes)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)
    while set(await asyncio.to_thread(statement_processes)) - set(before):
        await anyio.lowlevel.checkpoint()


async def test_nothing_is_parsed_in_this_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("parsed here")

    monkeypatch.setattr(statement_run, "admit", refuse)
    assert (await store.user_query("SELECT 1")).rows == ((1,),)
    with pytest.raises(QueryRefused, match="has 10001 characters, 10000 are allowed"):
        await store.user_query("SELECT 1".ljust(10_001))


def test_what_a_process_says_cannot_act() -> None:
    assert read_said(pickle.dumps([(1, Decimal(2))])) == [(1, Decimal(2))]
    for said in (pickle.dumps([os.getpid]), pickle.dumps("text"), b"", b"{", b"\x80damaged"):
        with pytest.raises(StatementEnded):
            read_said(said)


def test_a_process_that_cannot_be_started_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    with pytest.raises(QueryRefused, match="could be started: No such file"):
        StatementProcess()


async def test_memory_that_duckdb_does_not_count_is_limited(store: Store) -> None:
    with pytest.raises(QueryRefused, match="more memory than it may use"):
        await store.user_query("SELECT len(range(300_000_000))")
