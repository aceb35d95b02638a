"""What Elcano's own process is asked to do; it imports nothing, so that asking loads nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What to correct, on what, and how often: `warm_movies` follow the first, read ahead and written behind."""

    movie: str
    gain: str
    is_gain_flipped: bool
    home: str
    pixel_size_ang: float
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    dose_per_frame_e_per_ang2: float
    frames: int
    device: str
    threads: int
    warm_movies: int = 0
