"""Products: the files that stages make and consume, each named once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Product:
    """A kind of file made for every image: `<session home>/<category>/<image name><suffix>`."""

    name: str
    category: str
    suffix: str

    def path(self, home: Path, image_name: str) -> Path:
        """Return where this product of this image lies."""
        return home / self.category / f"{image_name}{self.suffix}"


MOVIE = Product("movie", "", "")
"""The raw movie itself: consumed from the raw directory, never produced."""

ALIGNED = Product("aligned_micrograph", "motioncor", "_aligned.mrc")
ALIGNED_UNWEIGHTED = Product("aligned_unweighted_micrograph", "motioncor", "_aligned_nodw.mrc")
ALIGNED_EVEN = Product("aligned_even_frames", "motioncor", "_aligned_even.mrc")
ALIGNED_ODD = Product("aligned_odd_frames", "motioncor", "_aligned_odd.mrc")
SPECTRUM = Product("power_spectrum", "motioncor", "_spectrum.mrc")
MOTION_STAR = Product("motion_star", "motioncor", "_motion.star")
MOTION_PLOT = Product("motion_plot", "motioncor", "_motion.png")
CTF_STAR = Product("ctf_star", "ctf", ".star")
CTF_SPECTRUM = Product("ctf_spectrum", "ctf", "_ctf.mrc")
CTF_PLOT = Product("ctf_plot", "ctf", "_ctf.png")
CTF_ROTATIONAL_AVERAGE = Product("ctf_rotational_average", "ctf", "_avrot.txt")
FFT_PICTURE = Product("fft_picture", "fft", "_fft.png")
THUMBNAIL = Product("thumbnail", "thumbnails", ".jpg")


def product_categories() -> tuple[str, ...]:
    """Return every folder of a session home that products of stages lie in, whether their stages run or not."""
    return tuple(sorted({value.category for value in globals().values() if isinstance(value, Product)} - {""}))
