"""Reads the stream of step events as any subscriber does."""

from collections.abc import Sequence

import anyio

from benchmarks.rig.facility import Facility
from daemon.bus.client import BusClient
from daemon.bus.follow import follow
from daemon.messages.envelope import Envelope, decode_envelope
from daemon.messages.subjects import ANY


def read_step_events(facility: Facility, *, completed: int) -> list[Envelope]:
    """Return the stream from its beginning once it holds so many completed steps; repeats are not taken out."""
    return anyio.run(_read, facility, completed)


async def _read(facility: Facility, completed: int) -> list[Envelope]:
    subjects, told = facility.bus.subjects, list[Envelope]()
    async with BusClient(facility.bus) as client:
        with anyio.fail_after(60):
            async for delivery in follow(client.link, subjects.step_stream, subjects.step(ANY, ANY)):
                told.append(decode_envelope(delivery.body))
                different = {event.id for event in told if event.type == "magellon.step.completed"}
                if len(different) >= completed and not delivery.pending:
                    break
    return told


def durable_by_task(events: Sequence[Envelope]) -> dict[str, list[Envelope]]:
    """Sort events by task, in their order; progress is best effort and no part of the story."""
    tasks: dict[str, list[Envelope]] = {}
    for event in events:
        if event.type != "magellon.step.progress":
            tasks.setdefault(event.data["task_id"], []).append(event)
    return tasks
