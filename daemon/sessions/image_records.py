"""The image records of a session, as its manifest says and as they are renewed: whole lists, away from the loop."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import stable_id
from daemon.domain.session import ImageRecord, Session
from daemon.sessions.acquisition import ReferencePlaces, merge_acquisition
from daemon.sessions.found_orientation import FoundOrientation, turn_images
from daemon.sessions.manifest import Manifest
from daemon.store.changes import PutImages

IMAGES_PER_COMMIT = 250
"""Images of one commit: a session of ten thousands shares the one thread that writes with all others."""


def records_of(
    session: Session, manifest: Manifest | None, configured: AcquisitionSettings | None, places: ReferencePlaces
) -> list[ImageRecord]:
    """Return the records that a manifest names. Raises PathOutsideRoots."""
    if manifest is None:
        return []
    ids = {image.name: image.oid or stable_id("image", session.session_id, image.name) for image in manifest.images}
    return [
        ImageRecord(
            image_id=ids[image.name],
            session_id=session.session_id,
            name=image.name,
            parent_id=ids.get(image.parent_name) if image.parent_name else None,
            level=image.level,
            acquisition=merge_acquisition(places, configured=configured, manifest=manifest, image=image).acquisition,
            frame_name=image.frame_name,
            manifest=dict(image.raw),
        )
        for image in manifest.images
    ]


def renew_images(
    known: Sequence[ImageRecord],
    records: Sequence[ImageRecord],
    acquisition: Acquisition,
    orientation: FoundOrientation | None = None,
) -> dict[str, ImageRecord]:
    """Return all images by id as they are from now on.

    What no manifest names was taken as the session was, which may have been corrected since. An image that was there
    before the manifest that names it was taken as that says. `orientation`: how the gain of the session was found to
    lie.
    """
    groups = {image.image_id: image.acquisition.optics_group for image in known}
    records = [_grouped(record, groups.get(record.image_id, 1)) for record in records]
    named = {record.name: record.acquisition for record in records}
    images = {
        image.image_id: _grouped(
            replace(image, acquisition=named.get(image.name, acquisition)), image.acquisition.optics_group
        )
        for image in known
        if not image.manifest
    }
    return turn_images(images | {record.image_id: record for record in records}, orientation)


def _grouped(image: ImageRecord, optics_group: int) -> ImageRecord:
    if image.acquisition.optics_group == optics_group:
        return image
    return replace(image, acquisition=replace(image.acquisition, optics_group=optics_group))


def find_news(
    known: Sequence[ImageRecord], images: dict[str, ImageRecord]
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return the images that were not known, and those that are others than they were."""
    before = {image.image_id: image for image in known}
    fresh = [image for image_id, image in images.items() if image_id not in before]
    changed = [image for image_id, image in images.items() if image_id in before and image != before[image_id]]
    return fresh, changed


def in_commits(images: Sequence[ImageRecord]) -> Iterator[PutImages]:
    """Yield changes that enter these images, each of a size that holds up nobody else's commits."""
    for start in range(0, len(images), IMAGES_PER_COMMIT):
        yield PutImages(tuple(images[start : start + IMAGES_PER_COMMIT]))
