"""One answer to "how was this taken?" out of five sources, and which source gave each part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.domain.names import readable_path
from daemon.sessions.manifest import Manifest
from daemon.sessions.manifest_images import ManifestImage
from daemon.sessions.present_place import follow_path
from daemon.sessions.roots import resolve_under

_REFERENCES = frozenset({"gain", "dark", "defects"})
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
        """Say in one short line, for logs, what is known and from where."""
        by_source: dict[Source, list[str]] = {}
        for name, source in self.sources.items():
            by_source.setdefault(source, []).append(_say(name, getattr(self.acquisition, name)))
        return "; ".join(f"{', '.join(said)} ({source})" for source, said in by_source.items()) or "nothing"

    def told(self) -> list[tuple[str, str, str]]:
        """Return, for each thing that is known, its key, what it is in words, and who said it."""
        return [(name, _say(name, getattr(self.acquisition, name)), str(at)) for name, at in self.sources.items()]


def describe_acquisition(acquisition: Acquisition) -> list[tuple[str, str]]:
    """Return what is known of how a session was taken, key and words; what is as it is by default is left out."""
    plain = Acquisition()
    known = ((name, value) for name, value in vars(acquisition).items() if value != getattr(plain, name))
    return [(name, _say(name, value)) for name, value in known if name != "optics_group"]


def missing_values(taken: Sequence[Acquisition]) -> tuple[str, ...]:
    """Name what steps need and nobody gave, neither for the session, which comes first, nor for any of its images."""
    missing = [
        name
        for name in ("voltage_kv", "spherical_aberration_mm", "pixel_size_ang")
        if all(getattr(known, name) is None for known in taken)
    ]
    if all(known.dose_per_frame(1) is None for known in taken):
        missing.append("dose")
    return (*missing, "gain") if taken[0].gain is None else tuple(missing)


_SPOKEN: Mapping[str, str] = {
    "voltage_kv": "{:g} kV",
    "spherical_aberration_mm": "Cs {:g} mm",
    "amplitude_contrast": "amplitude contrast {:g}",
    "pixel_size_ang": "{:g} Å/px",
    "dose_per_frame_e_per_ang2": "{:g} e⁻/Å² a frame",
    "total_dose_e_per_ang2": "{:g} e⁻/Å² in all",
    "magnification": "{}×",
    "movie_pattern": "movies {}",
    "motion_binning": "micrographs binned {}×",
}


def _say(name: str, value: Any) -> str:
    if name in _REFERENCES:
        return f"{name} {readable_path(PurePath(value.path.name))}"
    if name == "eer":
        dose = value.dose_per_fraction_e_per_ang2
        cut = f"{value.fractions} fractions" if dose is None else f"fractions of {dose:g} e⁻/Å²"
        return f"EER in {cut} ×{value.upsampling}"
    if name == "defocus_range_um":
        return f"defocus {value[0]:g} to {value[1]:g} µm"
    if isinstance(value, bool):
        return f"{'' if value else 'no '}{name.replace('_', ' ')}"
    return _SPOKEN[name].format(value) if name in _SPOKEN else f"{name.replace('_', ' ')} {value}"


@dataclass(frozen=True)
class ReferencePlaces:
    """Where gains, darks and defects may lie.

    A relative path starts at the raw directory, one named by a manifest stays under `roots`. One that leads into a
    `former` raw directory leads to where that was moved.
    """

    raw_directory: Path
    roots: Sequence[Path]
    former: Sequence[Path] = ()
    _found: dict[Path, Path] = field(default_factory=dict, repr=False, compare=False)

    def find(self, path: Path, source: Source) -> Path:
        """Return where the file is. Raises PathOutsideRoots; an administrator's absolute path is taken at its word.

        Each path is looked at once: ten thousands of images share it.
        """
        if source is Source.CONFIG and path.is_absolute():
            return follow_path(path, self.former, self.raw_directory)
        if path not in self._found:
            named = follow_path(path, self.former, self.raw_directory)
            real = resolve_under(named, self.roots, base=self.raw_directory)
            self._found[path] = follow_path(real, self.former, self.raw_directory)
        return self._found[path]


def merge_acquisition(
    places: ReferencePlaces,
    *,
    configured: AcquisitionSettings | None = None,
    manifest: Manifest | None = None,
    image: ManifestImage | None = None,
    header: MovieHeader | None = None,
) -> KnownAcquisition:
    """Merge config.toml, session.json's block, its image record, what its images agree on, and the movie's header.

    Each quantity comes whole from the first source that knows it; a total dose in config.toml therefore
    also replaces a dose per frame in session.json. Raises PathOutsideRoots for a gain, a dark or defects.
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

    Of an EER movie, the pixel size is that of the up-sampled image, the dose per frame is that of the hardware
    frames in a fraction, and a dose that fractions are to have is turned into hardware frames.
    """
    pixel_ang = acquisition.pixel_size_ang or header.pixel_size_ang
    total = acquisition.total_dose_e_per_ang2
    if total is None and header.total_dose_e_per_px is not None and pixel_ang is not None:
        total = header.total_dose_e_per_px / pixel_ang**2
    known = replace(
        acquisition,
        pixel_size_ang=pixel_ang,
        voltage_kv=acquisition.voltage_kv or header.voltage_kv,
        total_dose_e_per_ang2=total,
    )
    if header.format is not MovieFormat.EER:
        return known
    eer = known.eer.for_movie(header.frame_count, total)
    dose = known.dose_per_frame_e_per_ang2
    if total is not None and (dose is None or eer.hardware_frames_each is not None):
        dose = total * eer.frames_each(header.frame_count) / header.frame_count
    size_ang = None if pixel_ang is None else pixel_ang / eer.upsampling
    return replace(known, pixel_size_ang=size_ang, dose_per_frame_e_per_ang2=dose, eer=eer)


def _for_pipeline(name: str, value: Any, source: Source, find: Callable[[Path, Source], Path]) -> Any:
    if name in _REFERENCES:
        return value.reference(find(value.path, source))
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
