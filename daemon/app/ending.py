"""How a daemon ends: what it interrupts is marked, and threads that hang do not keep it."""

import os
import threading

import anyio
import structlog

from daemon.engine.recovery import mark_stopped
from daemon.errors import MUST_RESTART, StoreUnavailable
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_END_WITHIN_S = 60.0


def end_for_certain() -> None:
    """End the process soon, also when its orderly end gets stuck where a stage did."""
    timer = threading.Timer(_END_WITHIN_S, os._exit, [MUST_RESTART])
    timer.daemon = True
    timer.start()


def mark_orderly_end(store: Store) -> None:
    """Say in the store that what was under way was stopped, not killed; the next daemon suspects nobody."""
    try:
        anyio.run(mark_stopped, store)
    except StoreUnavailable as error:
        log.warning("could not say in the store that the end was orderly", reason=str(error))
