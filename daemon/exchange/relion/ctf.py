"""A micrograph's CTF as RELION's `micrographs_ctf.star` tells it: optics group and one row.

RELION has our units and signs: Å, degrees, underfocus positive, the angle from +x towards +y. It has no word for a
fit that agrees nowhere: rlnCtfMaxResolution is 999 Å then, which every limit on it refuses.
"""

from dataclasses import dataclass

from daemon.domain.ctf import Ctf
from daemon.formats.star import StarBlock

_NO_RESOLUTION_ANG = 999.0


@dataclass(frozen=True)
class CtfOptics:
    """What RELION keeps in the optics group. Pixels of the movie and of the aligned micrograph in Å."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    movie_pixel_size_ang: float
    micrograph_pixel_size_ang: float


def ctf_blocks(micrograph: str, picture: str, ctf: Ctf | None, optics: CtfOptics) -> list[StarBlock]:
    """Return the blocks `optics` and `micrographs`; without a CTF the table has no row, so nobody uses it unawares.

    micrograph and picture: paths of the aligned micrograph and of the spectrum with its fit (MRC),
    relative to the session home. The one group is number 1: which group of its session a micrograph belongs to
    depends on what came before it, and so is told by the database alone (daemon.sessions.optics).
    """
    return [_optics_block(optics), _micrograph_block(micrograph, picture, ctf)]


def _optics_block(optics: CtfOptics) -> StarBlock:
    return StarBlock(
        "optics",
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnMicrographOriginalPixelSize": [optics.movie_pixel_size_ang],
            "rlnVoltage": [optics.voltage_kv],
            "rlnSphericalAberration": [optics.spherical_aberration_mm],
            "rlnAmplitudeContrast": [optics.amplitude_contrast],
            "rlnMicrographPixelSize": [optics.micrograph_pixel_size_ang],
        },
    )


def _micrograph_block(micrograph: str, picture: str, ctf: Ctf | None) -> StarBlock:
    rows = [] if ctf is None else [ctf]
    return StarBlock(
        "micrographs",
        {
            "rlnMicrographName": [micrograph for _ in rows],
            "rlnOpticsGroup": [1 for _ in rows],
            # RELION reads the file's type after the colon.
            "rlnCtfImage": [f"{picture}:mrc" for _ in rows],
            "rlnDefocusU": [row.defocus_u_ang for row in rows],
            "rlnDefocusV": [row.defocus_v_ang for row in rows],
            "rlnCtfAstigmatism": [row.astigmatism_ang for row in rows],
            "rlnDefocusAngle": [row.astigmatism_angle_deg for row in rows],
            "rlnCtfFigureOfMerit": [row.score for row in rows],
            "rlnCtfMaxResolution": [row.fit_resolution_ang or _NO_RESOLUTION_ANG for row in rows],
            "rlnPhaseShift": [row.phase_shift_deg for row in rows],
        },
    )
