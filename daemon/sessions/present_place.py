"""Where what lay in a session's raw directory lies now: records and settings may name a place it was moved away from.

What was made before a move keeps the paths of its time; compared with what holds now, they are read as paths of today.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.domain.acquisition import Acquisition
from daemon.domain.session import Session
from daemon.store.rows import decode_acquisition, decode_path, encode_acquisition, encode_path


def follow_path(path: Path, former: Sequence[Path], now: Path) -> Path:
    """Return a path as it is since the directories `former` became `now`; one of elsewhere as it is given."""
    # The longest first: a session may have been moved into a folder of where it was, and out again.
    for place in sorted(former, key=lambda place: len(place.parts), reverse=True):
        is_there_already = now.is_relative_to(place) and path.is_relative_to(now)
        if path.is_relative_to(place) and not is_there_already:
            return now / path.relative_to(place)
    return path


def follow_acquisition(acquisition: Acquisition, former: Sequence[Path], now: Path) -> Acquisition:
    """Return an acquisition with its gain, dark and defects where they are now."""
    followed = _follow(json.loads(encode_acquisition(acquisition)), former, now)
    return decode_acquisition(json.dumps(followed))


def follow_record(recorded: Mapping[str, Any], session: Session) -> Mapping[str, Any]:
    """Return what a record of this session holds of files of the camera, with their paths as they are now."""
    if not session.former_directories:
        return recorded
    followed: Mapping[str, Any] = _follow(recorded, session.former_directories, session.raw_directory)
    return followed


def _follow(value: Any, former: Sequence[Path], now: Path) -> Any:
    """Follow what stands under `path` in a JSON value."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: encode_path(follow_path(decode_path(part), former, now))
        if key == "path" and isinstance(part, str)
        else _follow(part, former, now)
        for key, part in value.items()
    }
