"""The acquisition XML of an EER movie (TIFF tag 65001): items with a name, a text and perhaps a unit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from daemon.errors import FormatError
from daemon.formats.pixel_size import plausible_pixel_size


@dataclass(frozen=True)
class MetadataItem:
    """One item; `unit` is empty where none is given."""

    text: str
    unit: str


def read_metadata(metadata_xml: bytes, path: Path) -> dict[str, MetadataItem]:
    """Return the items by name, empty without XML. Raises FormatError."""
    if not metadata_xml.strip(b"\0 \n"):
        return {}
    try:
        root = ET.fromstring(metadata_xml.rstrip(b"\0"))  # noqa: S314 - expat expands no external entity
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FormatError(path, f"its acquisition XML (tag 65001) cannot be read: {error}") from error
    items = root.iter("item")
    return {item.get("name", ""): MetadataItem((item.text or "").strip(), item.get("unit", "")) for item in items}


def find_pixel_size(metadata: Mapping[str, MetadataItem]) -> float | None:
    """Return the pixel size in Å (it is given in metres), or None; that of the sensor itself is no answer."""
    size_m = _positive(metadata, "sensorPixelSize.width", ("", "m"))
    return None if size_m is None else plausible_pixel_size(size_m * 1e10)


def find_total_dose(metadata: Mapping[str, MetadataItem]) -> float | None:
    """Return the dose of the whole movie in e⁻ per pixel of the sensor, or None."""
    return _positive(metadata, "totalDose", ("", "e/pixel", "e/px", "e-/pixel", "e-/px"))


def _positive(metadata: Mapping[str, MetadataItem], name: str, units: tuple[str, ...]) -> float | None:
    """Return a number in one of these units; what is no positive number, or has another unit, is unknown."""
    item = metadata.get(name)
    if item is None or item.unit not in units:
        return None
    try:
        value = float(item.text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
