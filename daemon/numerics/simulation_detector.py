"""A counting camera: gain pattern, hot and dead pixels, Poisson counts."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

# Up to this mean, counts come from one uniform number and the cumulative distribution.
_INVERSION_LIMIT = 8.0
_PIECE_PX = 1 << 15


@dataclass(frozen=True)
class Detector:
    """The pixel responses of one camera.

    gain_yx multiplies raw counts to a flat field; 0 marks pixels that the gain reference knows to be
    dead. response_yx is the counts per incident electron: 1 / gain, many times that in hot pixels,
    0 in dead ones.
    """

    gain_yx: Tensor
    response_yx: Tensor
    hot_yx: Tensor
    dead_yx: Tensor

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.gain_yx.shape[0]), int(self.gain_yx.shape[1])


class CountedMovie(ABC):
    """A movie whose frames are counted one at a time; going through it twice gives the same counts twice."""

    def __init__(self, detector: Detector, frame_count: int, electrons_per_px: float, count_seed: int) -> None:
        self.detector = detector
        self.electrons_per_px = electrons_per_px
        self._frame_count = frame_count
        self._count_seed = count_seed

    @abstractmethod
    def intensities(self) -> Iterator[Float[Tensor, "y x"]]:
        """Yield the expected relative intensity (mean 1) of each frame: no counting noise, no detector."""

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.detector.shape_yx

    def __len__(self) -> int:
        return self._frame_count

    def __iter__(self) -> Iterator[Integer[Tensor, "y x"]]:
        return self.frames()

    def frames(self, dtype: torch.dtype = torch.uint8) -> Iterator[Integer[Tensor, "y x"]]:
        """Yield frames of raw counts: Poisson of expected / gain, saturating at the largest value of `dtype`."""
        generator = seed_generator(self._count_seed)
        response = self.detector.response_yx * self.electrons_per_px
        for intensity_yx in self.intensities():
            yield draw_counts(intensity_yx * response, generator, dtype)

    def hardware_frames(self, per_frame: int) -> Iterator[Integer[Tensor, "y x"]]:
        """Yield `per_frame` times as many frames of zeros and ones, as an event camera reads them out.

        A pixel hit twice within one hardware frame counts once: the coincidence loss of such cameras
        (half the electrons per pixel and hardware frame, relatively).
        """
        generator = seed_generator(self._count_seed)
        response = self.detector.response_yx * (self.electrons_per_px / per_frame)
        for intensity_yx in self.intensities():
            hit_probability = 1 - torch.exp(-intensity_yx * response)
            for _ in range(per_frame):
                uniform = torch.rand(self.shape_yx, generator=generator, dtype=torch.float32)
                yield (uniform < hit_probability).to(torch.uint8)

    def stack(self, dtype: torch.dtype = torch.uint8) -> Integer[Tensor, "t y x"]:
        """All frames in memory."""
        movie_tyx = torch.empty(len(self), *self.shape_yx, dtype=dtype)
        for index, frame_yx in enumerate(self.frames(dtype)):
            movie_tyx[index] = frame_yx
        return movie_tyx


def seed_generator(seed: int) -> torch.Generator:
    """Return a generator of random numbers that depends on the seed alone."""
    return torch.Generator().manual_seed(seed)


def draw_seed(generator: torch.Generator) -> int:
    """Draw a seed for another generator."""
    return int(torch.randint(2**62, (1,), generator=generator))


def draw_gain(shape_yx: tuple[int, int], generator: torch.Generator, *, spread: float = 0.04) -> Float[Tensor, "y x"]:
    """Draw a gain reference of mean 1: smooth waves, a pattern by column and one by pixel, ± `spread` in all."""
    height, width = shape_yx
    y = torch.linspace(0, 2 * math.pi, height)[:, None]
    x = torch.linspace(0, 2 * math.pi, width)[None, :]
    gain = torch.zeros(height, width)
    for cycles in (0.5, 1.0, 1.5):
        turn_y, turn_x = (2 * math.pi * torch.rand(2, generator=generator)).tolist()
        gain += torch.cos(cycles * y + turn_y) * torch.cos(cycles * x + turn_x)
    gain *= 0.5 / float(gain.abs().max())
    gain += 0.25 * torch.rand(1, width, generator=generator).sub_(0.5).mul_(2)
    gain += 0.25 * torch.rand(height, width, generator=generator).sub_(0.5).mul_(2)
    gain = 1 + spread * gain
    return gain / gain.mean()


def build_detector(
    shape_yx: tuple[int, int],
    generator: torch.Generator,
    *,
    gain_yx: Float[Tensor, "y x"] | None = None,
    hot_pixels: int = 0,
    dead_pixels: int = 0,
    hot_factor: float = 20.0,
) -> Detector:
    """Draw hot and dead pixels over a given gain (flat when None).

    Hot pixels count `hot_factor` times too often and the gain does not know it: they appeared after
    it was taken. Dead pixels never count; the gain holds 0 for half of them.
    """
    height, width = shape_yx
    gain = torch.ones(shape_yx) if gain_yx is None else gain_yx.to(torch.float32).clone()
    if tuple(gain.shape) != shape_yx:
        raise ValueError(f"gain has shape {tuple(gain.shape)}, the frames have {shape_yx}")
    if bool((gain < 0).any()) or not bool(torch.isfinite(gain).all()):
        raise ValueError("gain must be finite and not negative")
    if not 0 <= hot_pixels + dead_pixels <= height * width:
        raise ValueError(f"{hot_pixels} hot and {dead_pixels} dead pixels do not fit {height}×{width}")
    chosen = torch.randperm(height * width, generator=generator)[: hot_pixels + dead_pixels]
    hot, dead = torch.zeros(height * width, dtype=torch.bool), torch.zeros(height * width, dtype=torch.bool)
    hot[chosen[:hot_pixels]] = True
    dead[chosen[hot_pixels:]] = True
    gain.view(-1)[chosen[hot_pixels : hot_pixels + dead_pixels // 2]] = 0.0
    hot, dead = hot.view(shape_yx), dead.view(shape_yx) | (gain == 0)
    response = torch.where(gain > 0, 1 / gain.clamp(min=1e-6), torch.zeros(()))
    response = torch.where(hot, response * hot_factor, response)
    return Detector(gain, torch.where(dead, torch.zeros(()), response), hot, dead)


def draw_counts(
    mean_yx: Float[Tensor, "y x"], generator: torch.Generator, dtype: torch.dtype = torch.uint8
) -> Integer[Tensor, "y x"]:
    """Poisson counts of the given means, saturating at the largest value of `dtype`.

    Inversion of the cumulative distribution: one uniform number per pixel, then as many vectorised
    steps as the largest likely count. The few pixels with a mean above 8 are drawn by torch.poisson.
    """
    if not bool(torch.isfinite(mean_yx).all()) or bool((mean_yx < 0).any()):
        raise ValueError("mean counts must be finite and not negative")
    counts = torch.empty(mean_yx.shape, dtype=dtype)
    flat_mean, flat_counts = mean_yx.flatten(), counts.view(-1)
    # Pieces that stay in the processor's cache: the steps of the inversion pass over each of them many times.
    for first in range(0, len(flat_mean), _PIECE_PX):
        piece = slice(first, first + _PIECE_PX)
        uniform = torch.rand(len(flat_mean[piece]), generator=generator, dtype=torch.float32)
        flat_counts[piece] = _invert(flat_mean[piece].clamp(max=_INVERSION_LIMIT), uniform).to(dtype)
    bright: Bool[Tensor, "y x"] = mean_yx > _INVERSION_LIMIT
    if bool(bright.any()):
        drawn = torch.poisson(mean_yx[bright], generator=generator)
        counts[bright] = drawn.clamp_(max=torch.iinfo(dtype).max).to(dtype)
    return counts


def _invert(mean: Tensor, uniform: Tensor) -> Tensor:
    """Smallest count whose cumulative probability exceeds the uniform number (uint8)."""
    probability = torch.exp(-mean)
    remaining = uniform.sub_(probability)
    counts = torch.zeros(mean.shape, dtype=torch.uint8)
    largest = float(mean.max())
    # Beyond mean + 8 σ + 8 a float32 uniform number cannot tell the tail from 1.
    for count in range(1, math.ceil(largest + 8 * math.sqrt(largest) + 8)):
        above = remaining >= 0
        if not bool(above.any()):
            break
        counts += above
        probability *= mean
        probability /= count
        remaining -= probability
    return counts
