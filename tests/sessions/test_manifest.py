import contextlib
import inspect
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import FileUnreadable, ManifestInvalid, PathOutsideRoots
from daemon.sessions import manifest as manifest_module
from daemon.sessions.manifest import Manifest, find_manifest, read_manifest
from daemon.sessions.naming import parse_leginon_name

REAL = Path(__file__).parents[3] / "shared/data/sessions/24dec03a.session.json"


def write(folder: Path, content: Any) -> Path:
    path = folder / "session.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def read(folder: Path, images: list[Any], **parts: Any) -> Manifest:
    return read_manifest(write(folder, {"msession": {"name": "s"}, "images": images, **parts}))


def refusals(folder: Path, content: Any) -> list[str]:
    with pytest.raises(ManifestInvalid) as caught:
        read_manifest(write(folder, content))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.skipif(not REAL.is_file(), reason="the shared data folder is not here")
def test_a_real_manifest() -> None:
    manifest = read_manifest(REAL)
    assert manifest.session_name == "24DEC03A"
    assert manifest.session_oid == "c634ac1b-b9c4-4f72-86d9-400db6c8087c"
    assert len(manifest.images) == 307
    assert (manifest.voltage_kv, manifest.spherical_aberration_mm) == (300.0, 2.7)
    by_name = {image.name: image for image in manifest.images}
    exposure = by_name["24dec03a_00031gr_00001sq_v01_00004hl_00002ex"]
    assert exposure.pixel_size_ang is None
    assert exposure.total_dose_e_per_ang2 == 60.26107013
    assert exposure.nominal_defocus_um == pytest.approx(1.99)
    assert (exposure.level, exposure.magnification, exposure.frame_name) == (4, 59000, None)
    assert exposure.raw["stage_x"] == "-0.0001301448"
    assert by_name["24dec03a_00014gr"].pixel_size_ang == pytest.approx(340 * 8)
    assert [warning.partition(": ")[2] for warning in manifest.warnings] == [
        "pixel_size 1.1E-9 m is rounded too coarsely to be used (met 19 times)"
    ]
    for image in manifest.images:  # nesting and the grammar of names tell the same tree
        parsed = parse_leginon_name(image.name)
        assert parsed is not None
        assert parsed.parent == image.parent_name
        assert parsed.kind.level == image.level


def test_a_pixel_size_of_the_acquisition_block_silences_those_that_were_rounded(tmp_path: Path) -> None:
    images = [{"name": "x", "level": 4, "pixel_size": "1E-10", "defocus": "NaN?"}]
    rounded = "images[0]: pixel_size 1E-10 m is rounded too coarsely to be used"
    others = [warning for warning in read(tmp_path, images).warnings if warning != rounded]
    assert rounded in read(tmp_path, images).warnings
    assert others
    assert rounded in read(tmp_path, images, acquisition={"voltage_kv": 300}).warnings
    assert list(read(tmp_path, images, acquisition={"pixel_size_ang": 0.83}).warnings) == others


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, {"msession": {}, "images": []}))
    assert (manifest.session_name, manifest.images, manifest.warnings) == (None, (), ())
    assert find_manifest(tmp_path) == tmp_path / "session.json"


def test_everything_an_image_may_say(tmp_path: Path) -> None:
    image = {
        "oid": "u1",
        "name": "x",
        "path": "frames/x.tif",
        "frame_name": "m1",
        "level": "4",
        "frame_count": 40.0,
        "magnification": "105000",
        "pixel_size": "4.15E-11",
        "binning_x": 2,
        "binning_y": 2,
        "dose": "50.5",
        "defocus": -1.5e-6,
        "acceleration_voltage": 200,
        "spherical_aberration": "0.0027",
        "unknown_key": {"kept": True},
        "nothing": None,
    }
    record = read(tmp_path, [image]).images[0]
    assert (record.oid, record.path, record.frame_name, record.level) == ("u1", "frames/x.tif", "m1", 4)
    assert (record.frame_count, record.magnification, record.voltage_kv) == (40, 105000, 200.0)
    assert record.pixel_size_ang == pytest.approx(0.83)
    assert record.nominal_defocus_um == pytest.approx(1.5)
    assert record.total_dose_e_per_ang2 == 50.5
    assert record.spherical_aberration_mm == pytest.approx(2.7)
    assert record.raw["unknown_key"] == {"kept": True}
    assert "nothing" not in record.raw


def test_parents_by_nesting_by_id_and_by_name(tmp_path: Path) -> None:
    images = [
        {"name": "a", "oid": "1", "children": [{"name": "b", "parent_id": "1", "children": [{"name": "c"}]}]},
        {"name": "d", "parent_id": "1"},
        {"name": "s_00001gr_00002sq", "parent_id": "gone"},
        {"name": "s_00001gr"},
        {"name": "e", "parent_id": 7},
    ]
    manifest = read(tmp_path, images)
    assert {image.name: image.parent_name for image in manifest.images} == {
        "a": None,
        "b": "a",
        "c": "b",
        "d": "a",
        "s_00001gr_00002sq": "s_00001gr",
        "s_00001gr": None,
        "e": None,
    }
    assert [image.name for image in manifest.images][:3] == ["a", "b", "c"]
    assert manifest.warnings == ("images[2]: parent_id names no image of this file (met 2 times)",)


def test_oddities_are_told_and_unknown(tmp_path: Path) -> None:
    images = [
        {"name": "a", "pixel_size": "0.8 Å", "acceleration_voltage": "300000", "frame_name": 7, "dose": False},
        {"name": "b", "binning_x": 1, "binning_y": 2, "pixel_size": "8.3E-11", "spherical_aberration": "2.7"},
    ]
    manifest = read(tmp_path, images)
    assert manifest.images[0].pixel_size_ang is manifest.images[1].pixel_size_ang is None
    assert manifest.images[0].voltage_kv is None
    assert manifest.images[1].spherical_aberration_mm is None
    assert sorted(manifest.warnings) == [
        "images[0]: acceleration_voltage '300000' is out of range",
        "images[0]: dose False is not a number",
        "images[0]: frame_name is not text but int",
        "images[0]: pixel_size '0.8 Å' is not a number",
        "images[1]: pixel_size of pixels binned 1×2 differs in x and y",
        "images[1]: spherical_aberration '2.7' is out of range",
    ]


def test_oddities_without_number_are_summed_up(tmp_path: Path) -> None:
    warnings = read(tmp_path, [{"name": str(n), "dose": f"{n} e"} for n in range(1000)]).warnings
    assert len(warnings) == 51
    assert warnings[-1] == "950 more oddities"


def test_images_that_disagree_tell_nothing_of_the_microscope(tmp_path: Path) -> None:
    images = [{"name": "a", "acceleration_voltage": "300"}, {"name": "b", "acceleration_voltage": "200"}]
    assert read(tmp_path, images).voltage_kv is None


def test_an_aberration_and_an_amplitude_contrast_may_be_zero(tmp_path: Path) -> None:
    """Of a corrected lens, and of phase alone; nothing else that the block says may."""
    block = {"spherical_aberration_mm": 0, "amplitude_contrast": 0.0, "voltage_kv": 0, "pixel_size_ang": 0.0}
    taken = read(tmp_path, [], acquisition=block).acquisition
    assert (taken.spherical_aberration_mm, taken.amplitude_contrast) == (0.0, 0.0)
    assert (taken.voltage_kv, taken.pixel_size_ang) == (None, None)


def test_the_acquisition_block(tmp_path: Path) -> None:
    block = {
        "voltage_kv": "300",
        "pixel_size_ang": "0E-10",
        "spherical_aberration_mm": "0E-10",
        "total_dose_e_per_ang2": None,
        "defocus_range_um": [0.5, 2.5],
        "gain": {"path": "gains/g.mrc", "flip": "y", "orientation": "auto", "binning": 2},
        "eer": {"fractions": 60},
        "defects": "defects/d.txt",
    }
    manifest = read(tmp_path, [], acquisition=block)
    assert manifest.acquisition.voltage_kv == 300.0
    assert manifest.acquisition.pixel_size_ang is None
    assert manifest.acquisition.spherical_aberration_mm is None
    assert manifest.acquisition.defocus_range_um == (0.5, 2.5)
    assert manifest.acquisition.gain is not None
    assert manifest.acquisition.gain.flip == "y"
    assert manifest.acquisition.gain.orientation == "auto"
    assert manifest.acquisition.eer is not None
    assert manifest.acquisition.defects is not None
    assert manifest.acquisition.defects.path == Path("defects/d.txt")
    assert manifest.warnings == ("acquisition: gain.binning is not used",)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    content = {
        "msession": {"name": "../etc"},
        "acquisition": {"voltage_kv": 300000, "gain": {"flip": "z"}},
        "project": 3,
        "images": [
            {"name": "a"},
            {"oid": "1"},
            {"name": 7},
            "text",
            {"name": "b/c", "children": [{"name": "a"}, {"name": "x\n"}]},
            {"name": "d", "children": {}},
            {"name": "y" * 101},
        ],
    }
    assert refusals(tmp_path, content) == [
        "msession.name: '../etc' contains a path separator",
        "images[1].name: is missing",
        "images[2].name: is not text",
        "images[3]: is not an object",
        "images[4].name: 'b/c' contains a path separator",
        "images[4].children[0].name: 'a' is the name of images[0] too (every image needs a name of its own)",
        "images[4].children[1].name: 'x\\n' contains a control or invisible character",
        "images[5].children: is not a list",
        f"images[6].name: '{'y' * 101}' is 101 characters long, 100 are allowed",
        "acquisition.voltage_kv: 300000 is not allowed (takes a number from 20 to 3000 kV)",
        "acquisition.gain.path: required, but not given (takes a path)",
        'acquisition.gain.flip: "z" is not allowed (takes one of none, x, y)',
        "project: is not an object",
    ]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    told = refusals(tmp_path, {"msession": {}, "images": [{}] * 1000})
    assert len(told) == 51
    assert told[-1] == "file: 950 more problems of these kinds"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1, column 1: is not JSON"),
        (b'{"msession": {}, "images": [', "is not JSON"),
        (b'{"msession": {},\n "images": [}', "line 2"),
        (b"\xff\xfe{}", "byte 0: is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"msession": {}, "images": [], "x": ' + b"9" * 10_000 + b"}", "number that cannot be read"),
        ([], "top level: is not a JSON object"),
        ("text", "top level: is not a JSON object"),
        ({"msession": [], "images": []}, "msession: is not an object"),
        (
            {"scan": 1, "voltage": 300},
            "top level: holds nothing that Elcano knows (scan, voltage) (the values go under",
        ),
        ({"msession": {}, "images": {}}, "images: is not a list"),
        ({"msession": {}, "images": [], "acquisition": 7}, "acquisition: is not an object"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, content: Any, said: str) -> None:
    assert any(said in problem for problem in refusals(tmp_path, content))


TAKEN = {"voltage_kv": 300, "spherical_aberration_mm": 2.7, "pixel_size_ang": 0.83, "dose_per_frame_e_per_ang2": 1.2}


@pytest.mark.parametrize(
    "content",
    [
        {"acquisition": TAKEN},
        TAKEN,
        {"msession": {}, "acquisition": TAKEN},
        {"msession": None, "images": None, "acquisition": TAKEN},
        {"images": [], "acquisition": TAKEN},
    ],
)
def test_a_file_by_hand_may_hold_only_how_the_movies_were_taken(tmp_path: Path, content: Any) -> None:
    manifest = read_manifest(write(tmp_path, content))
    assert manifest.acquisition.model_dump(exclude_none=True) == TAKEN
    assert (manifest.session_name, manifest.images, manifest.warnings) == (None, (), ())


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_the_examples_of_the_pages_say_all_that_is_needed(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    manifest = read_manifest(write(tmp_path, json.loads(example)))
    assert manifest.warnings == ()
    taken = manifest.acquisition
    needed = (taken.voltage_kv, taken.spherical_aberration_mm, taken.pixel_size_ang, taken.dose_per_frame_e_per_ang2)
    assert None not in needed
    assert taken.gain is not None


@pytest.mark.parametrize("content", [{}, {"msession": {}}, {"images": []}, {"msession": {"name": "s"}}])
def test_what_is_left_out_may_stand_in_the_configuration(tmp_path: Path, content: Any) -> None:
    manifest = read_manifest(write(tmp_path, content))
    assert (manifest.images, manifest.warnings) == ((), ())
    assert manifest.acquisition.model_dump(exclude_none=True) == {}


def test_keys_that_are_not_ours_are_named_with_what_was_meant(tmp_path: Path) -> None:
    by_hand = {"voltage_kv": 300, "Cs": 2.7, "pixel_size": 0.83, "dose": 50, "grid": "C3"}
    assert set(read_manifest(write(tmp_path, by_hand)).warnings) == {
        "acquisition: Cs is not used: did you mean spherical_aberration_mm?",
        "acquisition: pixel_size is not used: did you mean pixel_size_ang?",
        "acquisition: dose is not used: did you mean dose_per_frame_e_per_ang2 (or total_dose_e_per_ang2)?",
        "acquisition: grid is not used",
    }
    beside = {"acquisition": {"voltage_kv": 300}, "pixel_size_ang": 0.83}
    assert read_manifest(write(tmp_path, beside)).warnings == (
        'file: pixel_size_ang is not used here: move it into "acquisition"',
    )


def test_nan_and_a_byte_order_mark_are_harmless(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"msession": {}, "images": [{"name": "a", "dose": NaN, "pixel_size": Infinity}]}'
    manifest = read_manifest(write(tmp_path, content))
    assert manifest.images[0].total_dose_e_per_ang2 is None
    assert manifest.warnings == ()


@pytest.mark.parametrize("depth", [32, 33, 300])
def test_depth_of_the_tree(tmp_path: Path, depth: int) -> None:
    image: dict[str, Any] = {"name": f"i{depth}"}
    for level in range(depth - 1, 0, -1):
        image = {"name": f"i{level}", "children": [image]}
    content = {"msession": {}, "images": [image]}
    if depth <= 32:
        assert len(read_manifest(write(tmp_path, content)).images) == depth
    else:
        assert any("deeper than 32 levels" in problem for problem in refusals(tmp_path, content))


def test_parents_in_a_circle(tmp_path: Path) -> None:
    images = [{"name": "a", "oid": "1", "parent_id": "2"}, {"name": "b", "oid": "2", "parent_id": "1"}]
    told = refusals(tmp_path, {"msession": {}, "images": images})
    assert [problem.partition(":")[0] for problem in told] == ["images[0].parent_id", "images[1].parent_id"]
    assert "circle" in told[0]


def test_a_missing_file(tmp_path: Path) -> None:
    assert find_manifest(tmp_path) is None
    with pytest.raises(FileUnreadable, match="No such file"):
        read_manifest(tmp_path / "session.json")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "session.json")
    assert stat.S_ISFIFO((tmp_path / "session.json").stat().st_mode)
    assert find_manifest(tmp_path) is None
    with pytest.raises(ManifestInvalid, match="not an ordinary file"):
        read_manifest(tmp_path / "session.json")


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "MOST_BYTES", 2**20)
    path = write(tmp_path, b" " * (2**20 + 1))
    with pytest.raises(ManifestInvalid, match="1 MiB are allowed"):
        read_manifest(path)


def test_the_path_of_an_image_stays_under_the_roots(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/out").symlink_to("/")
    images = [
        {"name": "none"},
        {"name": "in", "path": "frames/x.tif"},
        {"name": "up", "path": "../../etc/passwd"},
        {"name": "absolute", "path": "/etc/passwd"},
        {"name": "link", "path": "out/etc/passwd"},
        {"name": "bytes", "path": "a\0b"},
    ]
    records = {image.name: image for image in read(tmp_path / "raw", images).images}
    raw = tmp_path / "raw"
    assert records["none"].image_path(raw, [raw]) is None
    assert records["in"].image_path(raw, [raw]) == raw / "frames/x.tif"
    for name in ("up", "absolute", "link", "bytes"):
        with pytest.raises(PathOutsideRoots):
            records[name].image_path(raw, [raw])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("0E-10"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
image_keys = st.sampled_from(
    [
        "oid",
        "name",
        "path",
        "parent_id",
        "level",
        "children",
        "dose",
        "defocus",
        "pixel_size",
        "binning_x",
        "binning_y",
        "frame_name",
        "frame_count",
        "magnification",
        "acceleration_voltage",
        "spherical_aberration",
    ]
)
hostile_images = st.recursive(
    st.dictionaries(image_keys, json_values, max_size=8) | json_values,
    lambda inner: st.fixed_dictionaries({"name": st.text(max_size=4), "children": st.lists(inner, max_size=3)}),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["msession", "metadata", "project", "acquisition"]),
        json_values | st.dictionaries(st.sampled_from(["name", "voltage_kv", "gain", "eer"]), json_values),
    ),
    st.lists(hostile_images, max_size=4),
)
def test_no_content_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any], images: list[Any]
) -> None:
    path = write(tmp_path_factory.getbasetemp(), {"msession": {}, "images": images, **parts})
    with contextlib.suppress(ManifestInvalid):
        manifest = read_manifest(path)
        assert len({image.name for image in manifest.images}) == len(manifest.images)


@pytest.mark.parametrize("key", ["images", "msession"])
def test_what_would_be_lost_for_standing_twice_refuses_the_file(tmp_path: Path, key: str) -> None:
    path = tmp_path / "session.json"
    value = '[{"name": "a"}]' if key == "images" else '{"name": "other"}'
    path.write_text(f'{{"msession": {{"name": "s"}}, "images": [], "{key}": {value}}}')
    with pytest.raises(ManifestInvalid, match=f"{key}: stands twice in one object"):
        read_manifest(path)


def test_another_key_that_stands_twice_is_told_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_text('{"msession": {}, "images": [{"name": "a", "dose": "1", "dose": "2"}]}')
    manifest = read_manifest(path)
    assert manifest.images[0].total_dose_e_per_ang2 == 2.0
    assert manifest.warnings == ("file: dose stands 2 times in one object, the last one counts",)


@pytest.mark.parametrize("value", ["0,", "[],", '"",', '{"a":1},', "1.5,"])
def test_more_values_than_memory_is_good_for_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr("daemon.sessions.manifest.MOST_VALUES", 1000)
    path = tmp_path / "session.json"
    path.write_text(f'{{"msession": {{}}, "images": [], "x": [{value * 1000} 0]}}')
    with pytest.raises(ManifestInvalid, match="million values"):
        read_manifest(path)


def test_a_manifest_lets_other_threads_run_while_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser is one call into C: only what it calls back, at each object, hands the interpreter on."""
    called = 0
    loads = json.loads

    def count(text: str, *, object_pairs_hook: Any, **more: Any) -> Any:
        def hook(pairs: list[tuple[str, Any]]) -> Any:
            nonlocal called
            called += 1
            return object_pairs_hook(pairs)

        assert inspect.isfunction(object_pairs_hook)
        return loads(text, object_pairs_hook=hook, **more)

    monkeypatch.setattr("daemon.sessions.manifest.json.loads", count)
    read(tmp_path, [{"name": "a", "children": [{"name": "b"}]}])
    assert called == 4


def test_a_file_in_which_nothing_is_right_is_left_soon(tmp_path: Path) -> None:
    (said,) = [said for said in refusals(tmp_path, {"msession": {}, "images": [0] * 50_000}) if "more problems" in said]
    assert "9950 more problems of these kinds, and the rest was not read" in said
