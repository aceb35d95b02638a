"""EER movies (electron event representation of Falcon cameras): BigTIFF, one page a hardware frame.

The compressions 65000, 65001 and 65002 (bit widths in tags of each page) are read, see `eer_scheme`.
Rows are kept in file order. Events are added to the fraction they belong to, on the grid that is asked for: no finer
one is ever in memory. A compiled kernel counts the hardware frames of a fraction side by side; where no compiler is
there, they are added one after the other by imagecodecs, which takes some streams that end too early, or for 65000,
which it cannot read, by `eer_fixed`.
"""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions
from daemon.errors import COPY_AGAIN, AcquisitionUnknown, FormatError, FormatUnsupported
from daemon.formats.allocation import allocate
from daemon.formats.byte_source import ByteSource
from daemon.formats.eer_fixed import add_fixed_events
from daemon.formats.eer_scheme import EER_65000, EER_65001, EER_COMPRESSIONS, VARIABLE, EerScheme, variable_scheme
from daemon.formats.tiff_directory import TiffPage, walk_pages
from daemon.numerics import kernels

_PLAIN = 1
_SUPER_RESOLUTION = {1: 0, 2: 1, 4: 2}


def fraction_bounds(hardware_frames: int, eer: EerFractions) -> list[tuple[int, int]]:
    """Return, for each frame to be aligned, its first hardware frame and the one after its last.

    RELION's rule: every fraction sums g = floor(hardware_frames / fractions) frames, at least 1, and
    the fewer than g frames left at the end are dropped. So there are floor(hardware_frames / g)
    fractions: as many as asked for, or some more, and never is more than one fraction's dose lost.
    Where fractions are asked for by dose, g is `eer.hardware_frames_each`. Raises AcquisitionUnknown
    while the total dose that decides it is unknown.
    """
    if eer.dose_per_fraction_e_per_ang2 is not None and eer.hardware_frames_each is None:
        raise AcquisitionUnknown("total_dose_e_per_ang2", "a movie that is to be cut into fractions by dose")
    group = eer.frames_each(hardware_frames)
    return [(start, start + group) for start in range(0, hardware_frames - group + 1, group)]


def fraction_dtype(bounds: list[tuple[int, int]]) -> str:
    """Return the smallest type that cannot overflow: a pixel counts at most one event in a hardware frame."""
    return "uint8" if bounds[0][1] - bounds[0][0] <= 255 else "uint16"


class EerFrames:
    """The fractions of an open EER movie; many threads may read fractions at once.

    Raises on opening: MovieIncomplete, FormatError, FormatUnsupported, FileUnreadable.
    """

    def __init__(self, path: Path, eer: EerFractions) -> None:
        self.source = ByteSource(path)
        try:
            pages = tuple(walk_pages(self.source))
            self.metadata_xml = next((page.metadata for page in pages if page.metadata), b"")
            self.pages = select_event_pages(path, pages)
            self._scheme = _find_scheme(path, self.pages)
            _check_upsampling(path, self.pages[0], self._scheme, eer)
        except BaseException:
            self.source.close()
            raise
        self.sensor_shape_yx = (self.pages[0].height_px, self.pages[0].width_px)
        self.bounds = fraction_bounds(len(self.pages), eer)
        self.frame_count = len(self.bounds)
        self.shape_yx = (self.sensor_shape_yx[0] * eer.upsampling, self.sensor_shape_yx[1] * eer.upsampling)
        self.dtype = fraction_dtype(self.bounds)
        self._super_resolution = _SUPER_RESOLUTION[eer.upsampling]

    def read_frame(self, index: int, out_yx: npt.NDArray[Any]) -> None:
        """Sum the events of one fraction into an array of `shape_yx` and `dtype`.

        Raises FormatError where the event stream is damaged, MovieIncomplete, FileUnreadable.
        """
        out_yx.fill(0)
        numbers = range(*self.bounds[index])
        if kernels.HAS_COMPILER and out_yx.flags.c_contiguous:
            wrong = self._count(numbers, out_yx)
            if wrong is not None:
                raise self._damaged(wrong, "they do not end behind its last pixel")
            return
        for number in numbers:
            events = self.read_events(number)
            try:
                self._add_events(events, out_yx)
            except (RuntimeError, ValueError) as error:
                raise self._damaged(number, str(error)) from error

    @property
    def scheme(self) -> EerScheme:
        """How the events of every hardware frame are laid out."""
        return self._scheme

    @property
    def event_bytes(self) -> tuple[int, ...]:
        """Size of the bit stream of each hardware frame."""
        return tuple(int(page.strip_bytes.sum()) for page in self.pages)

    def read_events(self, number: int) -> bytes:
        """Return the bit stream of a hardware frame as it is. Raises MovieIncomplete, FileUnreadable."""
        page = self.pages[number]
        return b"".join(
            self.source.read_at(offset, size)
            for offset, size in zip(page.strip_offsets.tolist(), page.strip_bytes.tolist(), strict=True)
        )

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def _damaged(self, number: int, why: str) -> FormatError:
        what = f"the events of hardware frame {number + 1} are damaged ({why})"
        return FormatError(self.source.path, what, hint=COPY_AGAIN)

    def _count(self, numbers: range, out_yx: npt.NDArray[Any]) -> int | None:
        """Add events by the compiled kernel; which hardware frame is damaged, None where none is."""
        from daemon.numerics.kernels import eer_cpu  # noqa: PLC0415 - a compiler, which only movies are worth

        pages = [self.pages[number] for number in numbers]
        sizes = np.array([int(page.strip_bytes.sum()) for page in pages])
        packed = allocate((int(sizes.sum()) + eer_cpu.SLACK_BYTES,), np.uint8)
        packed[-eer_cpu.SLACK_BYTES :] = 0
        at = 0
        for page in pages:
            for offset, size in zip(page.strip_offsets.tolist(), page.strip_bytes.tolist(), strict=True):
                self.source.read_into(offset, packed.data[at : at + size])
                at += size
        height, width = self.sensor_shape_yx
        scheme, finer_bits = self._scheme, self._super_resolution
        layout = eer_cpu.Layout(width, height * width, scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)
        starts = np.cumsum(sizes) - sizes
        wrong = eer_cpu.count_events(packed, starts, sizes, layout, finer_bits, out_yx.reshape(-1))
        return None if wrong < 0 else numbers[wrong]

    def _add_events(self, events: bytes, out_yx: npt.NDArray[Any]) -> None:
        if self._scheme == EER_65000:
            add_fixed_events(events, self.sensor_shape_yx, out_yx)
            return
        # Adds to what `out` holds.
        imagecodecs.eer_decode(
            events,
            self.shape_yx,
            self._scheme.run_bits,
            self._scheme.x_bits,
            self._scheme.y_bits,
            superres=self._super_resolution,
            out=out_yx,
        )


def select_event_pages(path: Path, pages: tuple[TiffPage, ...]) -> tuple[TiffPage, ...]:
    """Leave out the plain image of the sum that newer cameras put before the frames.

    Raises FormatError when no hardware frame is left.
    """
    events = pages[1:] if pages[0].compression == _PLAIN else pages
    if not events:
        raise FormatError(path, "not an EER movie: it holds one plain image and no hardware frame")
    return events


def _check_upsampling(path: Path, page: TiffPage, scheme: EerScheme, eer: EerFractions) -> None:
    if not scheme.can_render(eer.upsampling):
        raise FormatUnsupported(
            path,
            f"its events have places of {scheme.x_bits} × {scheme.y_bits} bits, up-sampling {eer.upsampling} is not "
            "read from them",
            hint="Set acquisition.eer.upsampling to 1.",
        )
    # A limit of the decoder; every real sensor is even.
    if eer.upsampling == 2 and (page.height_px % 2 or page.width_px % 2):
        raise FormatUnsupported(path, "up-sampling 2 needs a sensor of even width and height")


def _find_scheme(path: Path, pages: tuple[TiffPage, ...]) -> EerScheme:
    first = pages[0]
    for number, page in enumerate(pages, start=1):
        if _layout(page) != _layout(first):
            raise FormatError(path, f"hardware frame {number} differs in size or compression from the first")
    scheme = _scheme_of(path, first)
    # Even an empty frame spends one run length on every 2^bits − 1 pixels.
    least_bytes = first.width_px * first.height_px // scheme.longest_run * scheme.skip_bits // 8
    for number, page in enumerate(pages, start=1):
        if page.strip_bytes.sum() < least_bytes:
            raise FormatError(
                path,
                f"hardware frame {number} has {page.strip_bytes.sum()} bytes, too few for "
                f"{page.width_px} × {page.height_px} px",
            )
    return scheme


def _layout(page: TiffPage) -> tuple[Any, ...]:
    return page.width_px, page.height_px, page.compression, page.event_bits


def _scheme_of(path: Path, page: TiffPage) -> EerScheme:
    if page.compression not in EER_COMPRESSIONS:
        raise FormatError(path, f"not an EER movie: compression {page.compression} where 65000 to 65002 is expected")
    if page.compression != VARIABLE:
        return EER_65000 if page.compression == EER_65000.compression else EER_65001
    if page.event_bits is None:
        raise FormatError(path, "EER compression 65002 without its bit widths (tags 65007 to 65009)")
    scheme = variable_scheme(*page.event_bits)
    if not scheme.is_in_range:
        widths = " + ".join(map(str, page.event_bits))
        raise FormatUnsupported(path, f"EER compression 65002 with bit widths {widths} is not read")
    return scheme
