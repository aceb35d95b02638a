"""Reads from the store what one movie is owed, as the scheduler's visits take it."""

from daemon.engine.parameters import ParameterBook
from daemon.engine.work import ImageWork
from daemon.store import ledger, sessions, tasks
from daemon.store.store import Store


async def fetch_work(store: Store, parameters: ParameterBook, movie_id: str) -> ImageWork | None:
    """Return the movie with its session, image and tasks; None when there is nothing to do for it now."""
    movie = await ledger.movie(store, movie_id)
    if movie is None or movie.image_id is None or movie.state.is_terminal:
        return None
    owed = await tasks.tasks(store, movie_id=movie_id)
    image = await sessions.image(store, movie.image_id)
    row = await sessions.session(store, movie.session_id)
    if not owed or image is None or row is None:
        return None
    return ImageWork(
        row.session,
        image,
        movie,
        tuple(owed),
        parameters.settings_for(movie.session_id, owed),
        cancelled_by=await sessions.job_cancelled_by(store, owed[0].job_id),
    )
