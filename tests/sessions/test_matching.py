from dataclasses import dataclass
from pathlib import PurePosixPath as Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.movie import MOVIE_SUFFIXES
from daemon.sessions.matching import RecordIndex, image_key, image_stem, movie_stem, preference


@dataclass(frozen=True)
class Record:
    name: str
    frame_name: str | None = None


@pytest.mark.parametrize(
    ("file_name", "stem"),
    [
        ("x.tif", "x"),
        ("x.TIFF", "x"),
        ("x.mrc.tif", "x"),
        ("x.frames.mrc", "x.frames"),
        ("x_fractions.tiff", "x_fractions"),
        ("x.jpg", None),
        ("x", None),
        (".mrc", None),
        ("a.b.eer", "a.b"),
    ],
)
def test_stem_of_a_movie(file_name: str, stem: str | None) -> None:
    assert movie_stem(file_name) == stem


@pytest.mark.parametrize(
    ("file_name", "stem"),
    [
        ("x_fractions.tiff", "x"),
        ("x_Fractions.mrc", "x"),
        ("x_EER.eer", "x"),
        ("x_frames.mrc.tif", "x"),
        ("x.frames.mrc", "x"),
        ("x_fractions.mrc.tif", "x"),
        ("_fractions.tiff", "_fractions"),
        ("x_fraction.tiff", "x_fraction"),
    ],
)
def test_stem_of_its_image(file_name: str, stem: str) -> None:
    assert image_stem(file_name) == stem


def test_frame_name_before_name_and_the_whole_stem_before_a_shorter_one() -> None:
    a, b, c, d = Record("a", "m1"), Record("b", "sub\\dir/m2.mrc"), Record("m1"), Record("a_fractions")
    index = RecordIndex([a, b, c, d])
    assert index.find(Path("frames/m1.tif")) is a
    assert index.find(Path("m2_fractions.tiff")) is b
    assert index.find(Path("frames/a.eer")) is a
    assert index.find(Path("b_EER.eer")) is b
    assert index.find(Path("a_fractions.tiff")) is d
    assert index.find(Path("a_fractions_frames.tiff")) is d
    assert index.find(Path("a.txt")) is None
    assert index.find(Path("A.eer")) is None


def test_a_number_never_takes_a_longer_one() -> None:
    index = RecordIndex([Record("x_1"), Record("x_10")])
    assert index.find(Path("x_10.tif")) == Record("x_10")
    assert index.find(Path("x_1.tif")) == Record("x_1")
    assert index.find(Path("x_100.tif")) is None
    assert index.find(Path("x_.tif")) is None


def test_exposures_that_share_frames_give_them_to_the_first() -> None:
    assert RecordIndex([Record("x", "f"), Record("x-a", "f")]).find(Path("f.mrc")) == Record("x", "f")


def test_the_preferred_file_of_an_image() -> None:
    files = [Path(f"frames/x{suffix}") for suffix in (".mrcs", ".mrc", ".tif", ".tiff", ".eer")]
    assert sorted(files, key=preference) == files[::-1]
    assert min([Path("x.mrc"), Path("x_fractions.mrc")], key=preference) == Path("x_fractions.mrc")
    assert min([Path("b/x.mrc"), Path("a/x.mrc")], key=preference) == Path("a/x.mrc")


def test_files_of_one_image_share_a_key_and_others_do_not() -> None:
    assert image_key(Path("f/x_EER.eer")) == image_key(Path("f/x.mrc")) == "f/x"
    assert image_key(Path("g/x.mrc")) != image_key(Path("f/x.mrc"))
    assert image_key(Path("f/x_1.mrc")) != image_key(Path("f/x_10.mrc"))


names = st.text(st.characters(categories=("L", "N"), include_characters="_-. "), min_size=1, max_size=20).filter(
    lambda name: image_stem(f"{name}.eer") == name
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(names, min_size=1, max_size=10, unique=True),
    st.sampled_from(["", "_fractions", "_EER", "_Frames", ".frames"]),
    st.sampled_from([*MOVIE_SUFFIXES, ".mrc.tif", ".TIF"]),
    st.data(),
)
def test_every_record_finds_its_own_movie_and_no_other(
    stems: list[str], added: str, suffix: str, data: st.DataObject
) -> None:
    index = RecordIndex(Record(stem) for stem in stems)
    chosen = data.draw(st.sampled_from(stems))
    assert index.find(Path("frames") / f"{chosen}{added}{suffix}") == Record(chosen)
    for digit in "019":
        longer = f"{chosen}{digit}"
        if longer not in stems:
            assert index.find(Path(f"{longer}{added}{suffix}")) is None
