"""What an import of a known session changes, committed in parts between which others record.

An image and what runs again for it are of one part: a death of the daemon between two leaves images that are not
renewed yet, and the next import finds those.
"""

from collections.abc import Sequence

from daemon.domain.session import ImageRecord
from daemon.errors import IllegalMove
from daemon.sessions.image_records import in_commits
from daemon.sessions.outdated import MAY_REOPEN, Again, changes_for
from daemon.store import ledger
from daemon.store.changes import PutImages
from daemon.store.store import Store

_MOST_RACES = 5


async def commit_renewal(
    store: Store, changed: Sequence[ImageRecord], again: Sequence[Again], asked_by: str
) -> list[Again]:
    """Enter changed images, and put back what was made of them as they were; return what was put back.

    Less than was asked for where a movie was superseded or withdrawn meanwhile: its tasks went with it.
    """
    of_image: dict[str | None, list[Again]] = {}
    for one in again:
        of_image.setdefault(one.movie.image_id, []).append(one)
    done: list[Again] = []
    for put in in_commits(changed):
        owed = [one for image in put.images for one in of_image.get(image.image_id, ())]
        done += await _put_back(store, put, owed, asked_by)
    return done


async def _put_back(store: Store, put: PutImages, again: Sequence[Again], asked_by: str) -> Sequence[Again]:
    """Commit images and what runs again, together; return the latter without movies that are none of ours any more."""
    left = again
    for tries_left in reversed(range(_MOST_RACES)):
        try:
            await store.commit(put, *changes_for(left, asked_by))
        except IllegalMove:
            # A file was written again or removed at this very moment: its movie is none of ours any more.
            if not tries_left:
                raise
            now = await ledger.movies_by_id(store, [one.movie.movie_id for one in left])
            there = {movie.movie_id: movie for movie in now if movie.state in MAY_REOPEN}
            left = [
                Again(there[one.movie.movie_id], one.task_ids, one.why) for one in left if one.movie.movie_id in there
            ]
        else:
            break
    return left
