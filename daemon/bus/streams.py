"""What JetStream keeps for us: two streams of events and one bucket of job summaries."""

import logging
from dataclasses import replace

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from daemon.errors import BusUnavailable
from daemon.messages.subjects import Subjects

logger = logging.getLogger(__name__)

DUPLICATE_WINDOW_S = 120.0
_MAX_AGE_S = 7 * 24 * 3600.0
_OWNED = {"elcano": "1"}
_STEP_SHARE, _SESSION_SHARE, _BUCKET_SHARE = 0.6, 0.2, 0.05


def stream_configs(subjects: Subjects, max_store_bytes: int) -> tuple[api.StreamConfig, ...]:
    """Return the event streams as they should be; together with the bucket they fill 85 % of the store."""
    template = api.StreamConfig(
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=_MAX_AGE_S,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
        allow_msg_ttl=True,  # a step's progress shares its subject and must not fill the stream
        metadata=_OWNED,
    )
    return (
        replace(
            template,
            name=subjects.step_stream,
            description="Step events of Elcano",
            subjects=list(subjects.step_stream_subjects),
            max_bytes=int(_STEP_SHARE * max_store_bytes),
        ),
        replace(
            template,
            name=subjects.session_stream,
            description="Job and session events of Elcano",
            subjects=list(subjects.session_stream_subjects),
            max_bytes=int(_SESSION_SHARE * max_store_bytes),
        ),
    )


async def ensure_streams(js: JetStreamContext, subjects: Subjects, max_store_bytes: int) -> None:
    """Make the event streams, or bring ours up to date; a site's own stream of that name is left as it is.

    Raises BusUnavailable when a foreign stream of that name does not keep our subjects, NATS errors
    when the server refuses.
    """
    for config in stream_configs(subjects, max_store_bytes):
        assert config.name is not None
        try:
            existing = (await js.stream_info(config.name)).config
        except NotFoundError:
            await js.add_stream(config)
            logger.info("made the stream %s", config.name)
            continue
        if (existing.metadata or {}).get("elcano"):
            if _differs(existing, config):
                await js.update_stream(config)
                logger.info("brought the stream %s up to date", config.name)
        elif not set(config.subjects or ()) <= set(existing.subjects or ()):
            raise BusUnavailable(
                f"The NATS stream {config.name} exists, made by others, and does not keep {config.subjects}.",
                hint="Add these subjects to it, or choose another [bus] prefix.",
            )


def _differs(existing: api.StreamConfig, wanted: api.StreamConfig) -> bool:
    ours = ("subjects", "max_bytes", "max_age", "duplicate_window", "allow_msg_ttl", "description")
    return any(getattr(existing, key) != getattr(wanted, key) for key in ours)


def bucket_config(subjects: Subjects, max_store_bytes: int) -> api.KeyValueConfig:
    """Return the bucket of job summaries as it should be."""
    return api.KeyValueConfig(
        bucket=subjects.job_bucket,
        description="One summary per job of Elcano",
        history=1,
        max_bytes=int(_BUCKET_SHARE * max_store_bytes),
        storage=api.StorageType.FILE,
        direct=True,
    )
