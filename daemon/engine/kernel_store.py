"""Where compiled kernels are kept between starts: a directory of the daemon's own, which may be lost at any time.

Numba writes there without waiting for the disk: a power cut may leave a file that is cut short, and it refuses to run
with one. What is there can always be made again.
"""

import hashlib
import os
import shutil
from pathlib import Path

from daemon.errors import ComputeUnavailable

_VARIABLE = "NUMBA_CACHE_DIR"
_KERNELS = Path(__file__).parents[1] / "numerics" / "kernels"


class KernelStore:
    """Compiled kernels of this version of the program, under `directory`, unless NUMBA_CACHE_DIR names another."""

    def __init__(self, directory: Path) -> None:
        # Numba looks only at the file that a kernel is in: what the kernel calls may lie in another one.
        sources = sorted(_KERNELS.glob("*.py"))
        digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
        self._all, self.directory = directory, directory / digest

    @property
    def is_ours(self) -> bool:
        """Whether kernels are kept here, and not where somebody else has said."""
        return os.environ.get(_VARIABLE) == str(self.directory)

    def is_empty(self) -> bool:
        """Whether no kernels are kept yet: they are compiled, which takes its time."""
        try:
            return next(Path(os.environ.get(_VARIABLE, self.directory)).rglob("*.nbc"), None) is None
        except OSError:
            return True

    def keep(self) -> None:
        """Have kernels kept here, and forget those of other versions; to be called before anything is loaded.

        The environment says so to numba, in this process and in all that it starts: where the program is installed
        nothing may be written, and a service has no home directory. Raises ComputeUnavailable where it cannot be made.
        """
        os.environ.setdefault(_VARIABLE, str(self.directory))
        if not self.is_ours:
            return
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = [other for other in self._all.iterdir() if other != self.directory]
        except OSError as error:
            what = f"its kernels cannot be kept in {self.directory}: {error.strerror or error}"
            raise ComputeUnavailable(what) from error
        for other in others:
            shutil.rmtree(other, ignore_errors=True)  # not in the way, if it stays

    def empty(self) -> None:
        """Forget all kernels, so that they are compiled anew. Raises OSError."""
        shutil.rmtree(self.directory)
        self.directory.mkdir(mode=0o700)
