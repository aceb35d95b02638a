"""Tilt series and diffraction among single-particle movies: recognised, and left alone.

Nothing here is taken for a tilt series because it is tilted: particles are often recorded at one constant angle. What
tells is a name that only tomography software gives, or angles that go up in small steps: in the names of one sequence,
or as the stage noted them while it stood at one place of the grid.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from daemon.domain.stage_position import StagePosition
from daemon.sessions.series_names import read_angle

_FEWEST_ANGLES = 3
_SMALLEST_SPAN_DEG = 5.9
_LARGEST_STEP_DEG = 5.5
_LARGEST_ANGLE_DEG = 85.0
_ROUNDING_DEG = 0.5
_SAME_PLACE_UM = 1.0
"""Between the tilts of a series the stage drifts by less; from one hole to the next it moves by more."""
_MOST_PLACES = 20
"""Places of a folder that are remembered: the stage comes back to none after it has left it for so many others."""


def goes_up_in_steps(angles_deg: set[float]) -> bool:
    """Whether these are the tilts of a series: three or more, over 6° or more, without a wide gap.

    Single particles recorded at a few chosen tilts (0°, 20°, 40°) leave gaps; a constant tilt has no span.
    """
    distinct: list[float] = []
    for angle in sorted(angles_deg):
        if not distinct or angle - distinct[-1] > _ROUNDING_DEG:
            distinct.append(angle)
    if len(distinct) < _FEWEST_ANGLES or distinct[-1] - distinct[0] < _SMALLEST_SPAN_DEG:
        return False
    return all(after - before <= _LARGEST_STEP_DEG for before, after in pairwise(distinct))


@dataclass
class _Place:
    """Where the stage stood last for the movies of one place."""

    place_um: tuple[float, float]
    number: int

    def is_at(self, other_um: tuple[float, float]) -> bool:
        return math.dist(self.place_um, other_um) <= _SAME_PLACE_UM


class StagePlaces:
    """Tells the places of the grid apart that the stage stood at, while it drifts a little at each."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._count = 0

    def find(self, place_um: tuple[float, float]) -> tuple[int, int | None]:
        """Return the number of the place that this is, and that of the one forgotten for it, if any."""
        place = next((place for place in reversed(self._places) if place.is_at(place_um)), None)
        forgotten = None
        if place is None:
            self._count += 1
            place = _Place(place_um, self._count)
            self._places.append(place)
            if len(self._places) > _MOST_PLACES:
                forgotten = self._places.pop(0).number
        place.place_um = place_um
        return place.number, forgotten


class TiltSeries:
    """Remembers the angles of movies, sequence by sequence, until a sequence shows itself to be a tilt series."""

    def __init__(self) -> None:
        self._angles: dict[str, set[float]] = {}
        self._members: dict[str, list[str]] = {}
        self._known: set[str] = set()
        self._places: dict[str, StagePlaces] = {}

    def take(self, relative: str) -> list[str]:
        """Take a movie's path; return the paths that are thereby known to belong to a tilt series, it among them.

        The first movies of a series stand alone until the third comes; all of them are returned then, later ones
        each by itself.
        """
        read = read_angle(relative)
        return [] if read is None else self._take(relative, *read)

    def take_stage(self, relative: str, stage: StagePosition) -> list[str]:
        """Likewise by where the stage stood for a movie; without its place on the grid nothing can be said."""
        if stage.place_um is None or abs(stage.alpha_deg) > _LARGEST_ANGLE_DEG:
            return []
        folder = relative.rpartition("/")[0]
        number, forgotten = self._places.setdefault(folder, StagePlaces()).find(stage.place_um)
        if forgotten is not None:
            gone = _name_place(folder, forgotten)
            self._angles.pop(gone, None)
            self._members.pop(gone, None)
            self._known.discard(gone)
        return self._take(relative, _name_place(folder, number), stage.alpha_deg)

    def _take(self, relative: str, sequence: str, angle_deg: float) -> list[str]:
        if sequence in self._known:
            return [relative]
        angles = self._angles.setdefault(sequence, set())
        members = self._members.setdefault(sequence, [])
        members.append(relative)
        # Noted angles tremble: thousands of movies at one tilt must not become thousands of angles.
        rounded_deg = round(angle_deg, 1)
        if rounded_deg in angles:
            return []
        angles.add(rounded_deg)
        if not goes_up_in_steps(angles):
            return []
        self._known.add(sequence)
        del self._angles[sequence], self._members[sequence]
        return members


def _name_place(folder: str, number: int) -> str:
    """Return a name for the movies of a place that no sequence of names has."""
    return f"{folder}//{number}"
