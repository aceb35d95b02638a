"""A CTF as RELION's STAR holds it."""

from daemon.domain.ctf import Ctf
from daemon.formats.star import StarBlock, find_block


def read_ctf(blocks: list[StarBlock]) -> Ctf | None:
    """Return the first micrograph's CTF, None when the table has no row."""
    table = find_block(blocks, "micrographs")
    assert table is not None
    if not table.strings("rlnDefocusU"):
        return None
    resolution_ang = float(table.floats("rlnCtfMaxResolution")[0])
    phase_shift = table.floats("rlnPhaseShift")[0] if "rlnPhaseShift" in table.columns else 0.0
    return Ctf(
        defocus_u_ang=float(table.floats("rlnDefocusU")[0]),
        defocus_v_ang=float(table.floats("rlnDefocusV")[0]),
        astigmatism_angle_deg=float(table.floats("rlnDefocusAngle")[0]),
        phase_shift_deg=float(phase_shift),
        score=float(table.floats("rlnCtfFigureOfMerit")[0]),
        fit_resolution_ang=resolution_ang if resolution_ang < 999 else None,
    )
