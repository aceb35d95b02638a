"""The images of sessions level by level, with how the exposures below each stand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.states import DID_NOT_SUCCEED
from daemon.messages.sessions import ImageCounts, TreeNode
from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.views import SET_ASIDE

_DEEPEST = 32
_LONGEST_REASON = 200
_BY_HAND = "by hand"
"""Stands in place of the gate where a person decided."""
_NEWEST = """
newest AS (
  SELECT image_id, state, reason FROM movie WHERE session_id = $session AND image_id IS NOT NULL
    AND state NOT IN ('superseded', 'vanished', 'ignored')
  QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY revision DESC, seen_at DESC, movie_id) = 1
)
"""
# What failed was not refused: nobody knows whether it would pass. What a person rejected is no gate's doing.
_JUDGED = f"""
judged AS (
  SELECT image_id, session_id, CASE WHEN reason = gate || ' {DID_NOT_SUCCEED}' THEN NULL ELSE passes END AS passes,
    gate = '{_BY_HAND}' AS by_hand, reason FROM verdict
)
"""
_TOP = "parent_id IS NULL OR parent_id NOT IN (SELECT image_id FROM image WHERE session_id = $session)"
# A parent is an id of the same session; what names itself, or none that exists, stands at the top.
_PAGE = """
WITH RECURSIVE page AS (
  SELECT image_id, name, level FROM image WHERE session_id = $session AND ({below})
  ORDER BY name, image_id LIMIT $limit OFFSET $offset
), below AS (
  SELECT image_id AS top, image_id, 0 AS depth FROM page
  UNION ALL
  SELECT top, image.image_id, depth + 1 FROM below JOIN image ON image.parent_id = below.image_id
  WHERE image.session_id = $session AND depth < {deepest}
), {newest}, {judged}, counted AS (
  SELECT top, count(*) FILTER (depth = 1) AS children, count(newest.state) AS exposures,
    count(*) FILTER (newest.state = 'done') AS done,
    count(*) FILTER (newest.state IN ('failed', 'quarantined')) AS failed,
    count(*) FILTER (newest.state IN ('seen', 'settling', 'complete')) AS waiting,
    count(*) FILTER (judged.passes AND newest.state <> 'quarantined') AS passing,
    count(*) FILTER (NOT judged.passes AND NOT by_hand AND newest.state <> 'quarantined') AS refused,
    count(*) FILTER (NOT judged.passes AND by_hand AND newest.state <> 'quarantined') AS rejected
  FROM below LEFT JOIN newest USING (image_id) LEFT JOIN judged ON judged.image_id = below.image_id GROUP BY top
)
SELECT page.image_id, page.name, page.level, children, coalesce(newest.state, ''), judged.passes,
  left(CASE WHEN newest.state IN ('failed', 'quarantined') THEN newest.reason ELSE coalesce(judged.reason, '') END,
    {longest}),
  exposures, done, failed, waiting, passing, refused, rejected, coalesce(by_hand, false)
FROM page JOIN counted ON counted.top = page.image_id LEFT JOIN newest ON newest.image_id = page.image_id
  LEFT JOIN judged ON judged.image_id = page.image_id
ORDER BY page.name, page.image_id
"""


async def read_nodes(
    store: Reads, session_id: str, parent: str | None, *, offset: int, limit: int
) -> tuple[int, list[TreeNode]]:
    """Return how many images lie directly below one, or at the top, and those from `offset` on, by name."""
    below = _TOP if parent is None else "parent_id = $parent"

    def read(connection: Connection) -> tuple[int, list[TreeNode]]:
        named = {"session": session_id} | ({} if parent is None else {"parent": parent})
        (total,) = connection.execute(
            f"SELECT count(*) FROM image WHERE session_id = $session AND ({below})", named
        ).fetchone() or (0,)
        statement = _PAGE.format(below=below, deepest=_DEEPEST, newest=_NEWEST, judged=_JUDGED, longest=_LONGEST_REASON)
        rows = connection.execute(statement, {**named, "limit": limit, "offset": offset}).fetchall()
        return total, [_node(row) for row in rows]

    return await store.read(read)


def _node(row: Sequence[Any]) -> TreeNode:
    keys = ("image_id", "name", "level", "children", "state", "passes", "reason")
    *counts, by_hand = row[len(keys) :]
    return TreeNode(**dict(zip(keys, row, strict=False)), counts=ImageCounts(*counts), by_hand=by_hand)


@dataclass(frozen=True)
class SessionCounts:
    """Images of a session of any level, and its verdicts."""

    images: int = 0
    passing: int = 0
    refused: int = 0
    rejected: int = 0
    """By people; the gates have refused the others."""


async def count_sessions(store: Reads) -> dict[str, SessionCounts]:
    """Return the counts of every session that has an image, by id."""

    def read(connection: Connection) -> dict[str, SessionCounts]:
        rows = connection.execute(
            f"WITH {_JUDGED} SELECT session_id, count(*), count(*) FILTER (passes), "
            "count(*) FILTER (NOT passes AND NOT by_hand), count(*) FILTER (NOT passes AND by_hand) "
            "FROM image LEFT JOIN (FROM judged WHERE image_id IN (SELECT image_id FROM movie "
            f"WHERE state NOT IN {SET_ASIDE})) AS judged USING (image_id, session_id) GROUP BY session_id"
        ).fetchall()
        return {session_id: SessionCounts(*counts) for session_id, *counts in rows}

    return await store.read(read)


async def count_by_optics_group(store: Reads, session_id: str) -> dict[int, int]:
    """Return how many images with a movie each optics group has."""

    def read(connection: Connection) -> dict[int, int]:
        rows = connection.execute(
            f"WITH {_NEWEST} SELECT coalesce((acquisition->>'$.optics_group')::INTEGER, 1) AS optics_group, count(*) "
            "FROM image JOIN newest USING (image_id) GROUP BY optics_group ORDER BY optics_group",
            {"session": session_id},
        ).fetchall()
        return dict(rows)

    return await store.read(read)


async def read_titles(store: Reads, session_ids: Collection[str] | None = None) -> dict[str, tuple[str, str]]:
    """Return the titles that people gave to sessions, by id, each with who gave it; of all when none is named."""

    def read(connection: Connection) -> dict[str, tuple[str, str]]:
        rows = connection.execute(
            "SELECT session_id, value->>'$', asked_by FROM control WHERE kind = 'title' AND session_id IS NOT NULL"
        ).fetchall()
        wanted = None if session_ids is None else set(session_ids)
        return {
            session_id: (title, asked_by)
            for session_id, title, asked_by in rows
            if wanted is None or session_id in wanted
        }

    return await store.read(read)
