"""One answer to "how was this taken?" out of five sources, and which source gave each part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.sessions.manifest import Manifest
from daemon.sessions.manifest_images import ManifestImage
from daemon.sessions.roots import resolve_under

_DOSES = ("dose_per_frame_e_per_ang2", "total_dose_e_per_ang2")


class Source(StrEnum):
    """Who said it; the first that knows wins."""

    CONFIG = "config.toml"
    BLOCK = "acquisition block of session.json"
    IMAGE = "image in session.json"
    MICROSCOPE = "all images in session.json"
    HEADER = "movie header"


@dataclass(frozen=True)
class KnownAcquisition:
    """Everything known, and who said it; what no source knows is absent from `sources`."""

    acquisition: Acquisition
    sources: Mapping[str, Source] = field(default_factory=dict)

    def describe(self) -> str:
        """Say in one line, for logs, what is known and from where."""
        parts = [f"{name} = {getattr(self.acquisition, name)} ({source})" for name, source in self.sources.items()]
        return ", ".join(parts) or "nothing is known"


@dataclass(frozen=True)
class GainPlaces:
    """Where gains may lie: a relative path starts at the raw directory, one named by a manifest stays under `roots`."""

    raw_directory: Path
    roots: Sequence[Path]

    def find(self, path: Path, source: Source) -> Path:
        """Return where the gain is. Raises PathOutsideRoots; an administrator's absolute path is taken at its word."""
        if source is Source.CONFIG and path.is_absolute():
            return path
        return resolve_under(path, self.roots, base=self.raw_directory)


def merge_acquisition(
    places: GainPlaces,
    *,
    configured: AcquisitionSettings | None = None,
    manifest: Manifest | None = None,
    image: ManifestImage | None = None,
    header: MovieHeader | None = None,
) -> KnownAcquisition:
    """Merge config.toml, session.json's block, its image record, what its images agree on, and the movie's header.

    Each quantity comes whole from the first source that knows it; a total dose in config.toml therefore
    also replaces a dose per frame in session.json. Raises PathOutsideRoots for a gain.
    """
    answers: list[tuple[Source, Mapping[str, Any]]] = [
        (Source.CONFIG, _stated(configured)),
        (Source.BLOCK, _stated(manifest.acquisition if manifest else None)),
        (Source.IMAGE, _of_image(image)),
        (Source.MICROSCOPE, _of_microscope(manifest)),
        (Source.HEADER, _of_header(header)),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for source, answer in answers:
        dose_known = any(name in values for name in _DOSES)
        for name, value in answer.items():
            if name not in values and not (dose_known and name in _DOSES):
                values[name], sources[name] = _for_pipeline(name, value, source, places.find), source
    return KnownAcquisition(Acquisition(**values), sources)


def complete_from_header(acquisition: Acquisition, header: MovieHeader) -> Acquisition:
    """Return what is known of the image that a movie becomes, its own header filling what no other source gave.

    The pixel size is that of the image: of an up-sampled EER movie, finer than the camera's pixel.
    """
    pixel_ang = acquisition.pixel_size_ang or header.pixel_size_ang
    if pixel_ang is not None and header.format is MovieFormat.EER:
        pixel_ang /= acquisition.eer.upsampling
    return replace(acquisition, pixel_size_ang=pixel_ang)


def _for_pipeline(name: str, value: Any, source: Source, find_gain: Callable[[Path, Source], Path]) -> Any:
    if name == "gain":
        return value.reference(find_gain(value.path, source))
    return value.fractionation() if name == "eer" else value


def _stated(settings: AcquisitionSettings | None) -> dict[str, Any]:
    return {name: value for name, value in settings or () if value is not None}


def _of_image(image: ManifestImage | None) -> dict[str, Any]:
    if image is None:
        return {}
    names = ("voltage_kv", "spherical_aberration_mm", "pixel_size_ang", "total_dose_e_per_ang2", "magnification")
    return {name: value for name in names if (value := getattr(image, name)) is not None}


def _of_microscope(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    names = ("voltage_kv", "spherical_aberration_mm")
    return {name: value for name in names if (value := getattr(manifest, name)) is not None}


def _of_header(header: MovieHeader | None) -> dict[str, Any]:
    return {"pixel_size_ang": header.pixel_size_ang} if header is not None and header.pixel_size_ang else {}
