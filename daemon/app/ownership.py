"""The right to be the daemon of a state and a home, asked for before anything that takes long is loaded."""

import os

import anyio
import anyio.to_thread

from daemon.config.schema import Settings
from daemon.engine.claim import HomeClaim
from daemon.errors import HomeTaken, StoreUnavailable
from daemon.store.connection import FileOwner

_HOME_ANSWERS_WITHIN_S = 5.0


def own_places(settings: Settings) -> FileOwner:
    """Own the state, and see that nobody works in the home. Raises StoreUnavailable, HomeTaken.

    The home is claimed only when the daemon runs, and one that does not answer now is left to it.
    """
    claim = home_claim(settings)

    async def look() -> None:
        with anyio.move_on_after(_HOME_ANSWERS_WITHIN_S):
            await anyio.to_thread.run_sync(claim.check, abandon_on_cancel=True)

    owner = own_state(settings)
    try:
        anyio.run(look)
    except BaseException:
        owner.release()
        raise
    return owner


def own_state(settings: Settings) -> FileOwner:
    """Make the state's folder and own it until released.

    Raises StoreUnavailable when another daemon does, HomeTaken when it is one of another node.
    """
    os.umask(settings.output.umask_bits)
    try:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"its folder cannot be made ({error.strerror or error})"
        raise StoreUnavailable(
            settings.store_path, what, hint="Let this user write there, or set [paths] state."
        ) from error
    if (elsewhere := state_claim(settings).find_living_elsewhere()) is not None:
        raise HomeTaken(settings.state, elsewhere, hint="Stop it first, and give each node a [paths] state of its own.")
    return FileOwner(settings.store_path)


def home_claim(settings: Settings) -> HomeClaim:
    """Return the claim to the home, not taken yet."""
    return HomeClaim(settings.paths.home, settings.state)


def state_claim(settings: Settings) -> HomeClaim:
    """Return the claim to the state, not taken yet: on a shared file system its lock may not reach another node."""
    return HomeClaim(settings.state, settings.state, key="state")


def find_living_elsewhere(settings: Settings) -> str | None:
    """Say which daemon of another node works in this home; None where none is seen, or the home does not answer."""

    async def look() -> str | None:
        with anyio.move_on_after(_HOME_ANSWERS_WITHIN_S):
            return await anyio.to_thread.run_sync(home_claim(settings).find_living_elsewhere, abandon_on_cancel=True)
        return None

    return anyio.run(look)
