import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition, EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import PathOutsideRoots
from daemon.sessions.acquisition import ReferencePlaces, Source, complete_from_header, merge_acquisition
from daemon.sessions.manifest import Manifest, read_manifest

IMAGE = {
    "name": "x",
    "pixel_size": "8.3E-11",
    "dose": "50",
    "acceleration_voltage": "300.0",
    "spherical_aberration": "0.0027",
    "magnification": 105000,
}


def manifest_of(folder: Path, *, block: dict[str, Any] | None = None, images: list[Any] | None = None) -> Manifest:
    path = folder / "session.json"
    path.write_text(json.dumps({"msession": {}, "images": images or [], "acquisition": block}))
    return read_manifest(path)


def header(pixel_size_ang: float | None) -> MovieHeader:
    return MovieHeader(Path("x.tif"), MovieFormat.TIFF, 64, 64, 10, "uint8", pixel_size_ang, 40960)


def test_each_part_comes_from_the_first_source_that_knows_it(tmp_path: Path) -> None:
    manifest = manifest_of(
        tmp_path, block={"spherical_aberration_mm": 2.6, "amplitude_contrast": 0.08}, images=[IMAGE, {"name": "y"}]
    )
    places = ReferencePlaces(tmp_path, [tmp_path])
    known = merge_acquisition(
        places,
        configured=AcquisitionSettings(voltage_kv=200.0),
        manifest=manifest,
        image=manifest.images[0],
        header=header(1.5),
    )
    assert known.acquisition == Acquisition(
        voltage_kv=200.0,
        spherical_aberration_mm=2.6,
        amplitude_contrast=0.08,
        pixel_size_ang=known.acquisition.pixel_size_ang,
        total_dose_e_per_ang2=50.0,
        magnification=105000,
    )
    assert known.acquisition.pixel_size_ang == pytest.approx(0.83)
    assert known.sources == {
        "voltage_kv": Source.CONFIG,
        "spherical_aberration_mm": Source.BLOCK,
        "amplitude_contrast": Source.BLOCK,
        "pixel_size_ang": Source.IMAGE,
        "total_dose_e_per_ang2": Source.IMAGE,
        "magnification": Source.IMAGE,
    }
    assert "200 kV (config.toml)" in known.describe()


def test_other_images_tell_of_the_microscope_but_not_of_the_pixel(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, images=[IMAGE, {"name": "y"}])
    known = merge_acquisition(ReferencePlaces(tmp_path, []), manifest=manifest, image=manifest.images[1])
    assert known.sources == {"voltage_kv": Source.MICROSCOPE, "spherical_aberration_mm": Source.MICROSCOPE}
    known = merge_acquisition(ReferencePlaces(tmp_path, []), manifest=manifest, header=header(1.5))
    assert known.acquisition.pixel_size_ang == 1.5
    assert known.sources["pixel_size_ang"] is Source.HEADER


def test_nothing_known(tmp_path: Path) -> None:
    known = merge_acquisition(ReferencePlaces(tmp_path, []), header=header(None))
    assert known.acquisition == Acquisition()
    assert known.describe() == "nothing"


def test_a_dose_of_a_higher_source_replaces_both_of_a_lower_one(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, block={"dose_per_frame_e_per_ang2": 1.0}, images=[IMAGE])
    known = merge_acquisition(
        ReferencePlaces(tmp_path, []),
        configured=AcquisitionSettings(total_dose_e_per_ang2=40.0),
        manifest=manifest,
        image=manifest.images[0],
    )
    assert known.acquisition.dose_per_frame(20) == 2.0
    assert known.acquisition.dose_per_frame_e_per_ang2 is None


def test_both_doses_of_one_source_are_kept(tmp_path: Path) -> None:
    block = {"dose_per_frame_e_per_ang2": 1.25, "total_dose_e_per_ang2": 50}
    known = merge_acquisition(ReferencePlaces(tmp_path, []), manifest=manifest_of(tmp_path, block=block))
    assert known.acquisition.total_dose_e_per_ang2 == 50.0
    assert known.acquisition.dose_per_frame(7) == 1.25


def test_binning_is_layered_as_the_others_and_gives_the_micrograph_its_pixel(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, block={"motion_binning": 2, "pixel_size_ang": 0.42})
    known = merge_acquisition(ReferencePlaces(tmp_path, []), manifest=manifest)
    assert known.acquisition.motion_binning == 2
    assert known.acquisition.micrograph_pixel_size_ang == 0.84
    assert "micrographs binned 2×" in known.describe()
    configured = AcquisitionSettings(motion_binning=4)
    above = merge_acquisition(ReferencePlaces(tmp_path, []), configured=configured, manifest=manifest).acquisition
    assert (above.motion_binning, above.micrograph_pixel_size_ang) == (4, 1.68)
    unknown = merge_acquisition(ReferencePlaces(tmp_path, []), configured=configured).acquisition
    assert unknown.micrograph_pixel_size_ang is None
    assert Acquisition().motion_binning == 1


def test_gain_and_eer_become_the_pipeline_s(tmp_path: Path) -> None:
    block = {"gain": {"path": "gains/g.mrc", "flip": "x", "rotate_deg": 90}, "eer": {"fractions": 30, "upsampling": 2}}
    manifest = manifest_of(tmp_path, block=block)
    acquisition = merge_acquisition(ReferencePlaces(tmp_path, [tmp_path]), manifest=manifest).acquisition
    assert acquisition.gain == GainReference(tmp_path / "gains/g.mrc", "x", 90, "auto")
    assert acquisition.eer == EerFractions(30, 2)


def test_a_gain_that_others_name_stays_under_the_roots(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/gains").symlink_to("/etc")
    places = ReferencePlaces(tmp_path / "raw", [tmp_path / "raw"])
    for path in ("/etc/passwd", "../gain.mrc", "gains/passwd"):
        with pytest.raises(PathOutsideRoots):
            merge_acquisition(places, manifest=manifest_of(tmp_path, block={"gain": {"path": path}}))
    with pytest.raises(PathOutsideRoots):
        merge_acquisition(places, configured=AcquisitionSettings.model_validate({"gain": {"path": "../gain.mrc"}}))


def test_an_administrator_may_keep_gains_elsewhere(tmp_path: Path) -> None:
    configured = AcquisitionSettings.model_validate({"gain": {"path": "/facility/gains/k3.mrc"}})
    gain = merge_acquisition(ReferencePlaces(tmp_path, [tmp_path]), configured=configured).acquisition.gain
    assert gain == GainReference(Path("/facility/gains/k3.mrc"))


def test_configured_zero_aberration_is_a_value(tmp_path: Path) -> None:
    configured = AcquisitionSettings(spherical_aberration_mm=0.0)
    manifest = manifest_of(tmp_path, images=[IMAGE])
    known = merge_acquisition(ReferencePlaces(tmp_path, []), configured=configured, manifest=manifest)
    assert known.acquisition.spherical_aberration_mm == 0.0


def test_the_pixel_of_an_upsampled_movie_is_finer_than_the_camera_s() -> None:
    header = MovieHeader(Path("x.eer"), MovieFormat.EER, 4096, 4096, 400, "uint8", 1.2, 0)
    upsampled = Acquisition(eer=EerFractions(40, 2))
    assert complete_from_header(upsampled, header).pixel_size_ang == 0.6
    assert complete_from_header(replace(upsampled, pixel_size_ang=1.0), header).pixel_size_ang == 0.5
    plain = replace(header, format=MovieFormat.MRC)
    assert complete_from_header(upsampled, plain).pixel_size_ang == 1.2
    assert complete_from_header(upsampled, replace(plain, pixel_size_ang=None)).pixel_size_ang is None


def eer_header(**more: Any) -> MovieHeader:
    return replace(MovieHeader(Path("x.eer"), MovieFormat.EER, 8, 8, 240, "uint8", 0.8, 64), **more)


def test_a_dose_per_fraction_becomes_hardware_frames() -> None:
    asked = Acquisition(total_dose_e_per_ang2=48.0, eer=EerFractions(dose_per_fraction_e_per_ang2=1.0))
    known = complete_from_header(asked, eer_header())
    assert known.eer.hardware_frames_each == 5
    assert known.dose_per_frame_e_per_ang2 == 1.0
    assert complete_from_header(replace(asked, total_dose_e_per_ang2=None), eer_header()).eer == asked.eer
    of_the_header = complete_from_header(
        replace(asked, total_dose_e_per_ang2=None), eer_header(total_dose_e_per_px=48.0 * 0.64)
    )
    assert of_the_header.eer.hardware_frames_each == 5
    assert of_the_header.total_dose_e_per_ang2 == pytest.approx(48.0)


def test_the_dose_of_a_fraction_is_that_of_its_hardware_frames() -> None:
    # 240 frames in 35 fractions: 6 each, 40 fractions; 100 in 30: 3 each, one frame is lost.
    known = complete_from_header(
        Acquisition(total_dose_e_per_ang2=50.0, eer=EerFractions(30)), eer_header(frame_count=100)
    )
    assert known.dose_per_frame(33) == pytest.approx(1.5)
    told = Acquisition(dose_per_frame_e_per_ang2=1.2, total_dose_e_per_ang2=50.0)
    assert complete_from_header(told, eer_header()).dose_per_frame_e_per_ang2 == 1.2


def test_the_voltage_of_the_header_is_used_when_nobody_else_knows_it() -> None:
    header = replace(eer_header(voltage_kv=200.0), format=MovieFormat.MRC)
    assert complete_from_header(Acquisition(), header).voltage_kv == 200.0
    assert complete_from_header(Acquisition(voltage_kv=300.0), header).voltage_kv == 300.0


@pytest.mark.parametrize("name", ["gain", "dark", "defects"])
def test_references_are_resolved_and_stay_under_the_roots(tmp_path: Path, name: str) -> None:
    (tmp_path / "raw" / "gains").mkdir(parents=True)
    (tmp_path / "outside.mrc").write_bytes(b"")
    (tmp_path / "raw" / "gains" / "out.mrc").symlink_to(tmp_path / "outside.mrc")
    (tmp_path / "raw" / "gains" / "in.mrc").symlink_to(tmp_path / "raw" / "real.mrc")
    places = ReferencePlaces(tmp_path / "raw", [tmp_path / "raw"])
    for form in ("gains/in.mrc", {"path": "gains/in.mrc"}):
        known = merge_acquisition(places, manifest=manifest_of(tmp_path, block={name: form}))
        assert getattr(known.acquisition, name).path == tmp_path / "raw" / "real.mrc"
    with pytest.raises(PathOutsideRoots, match=r"out\.mrc"):
        merge_acquisition(places, manifest=manifest_of(tmp_path, block={name: "gains/out.mrc"}))
    turned = AcquisitionSettings.model_validate({name: {"path": "/a/b.tif", "rotate_deg": 90, "flip": "x"}})
    reference = getattr(merge_acquisition(places, configured=turned).acquisition, name)
    assert (reference.path, reference.rotate_deg, reference.flip) == (Path("/a/b.tif"), 90, "x")
