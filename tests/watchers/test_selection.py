"""Names: movies, copies under way, and everything else."""

import pytest

from daemon.watchers.selection import MovieSelection, NameClass


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ("frames/a.tif", NameClass.MOVIE),
        ("a.TIFF", NameClass.MOVIE),
        ("a.mrc.tif", NameClass.MOVIE),
        ("x/FoilHole_1_EER.eer", NameClass.MOVIE),
        ("a.mrcs", NameClass.MOVIE),
        ("frames/.a.tif.Xy12Zq", NameClass.TEMPORARY),
        ("a.eer.filepart", NameClass.TEMPORARY),
        ("a.mrc.tmp", NameClass.TEMPORARY),
        ("a.tif.Downloading", NameClass.TEMPORARY),
        ("a.jpg", NameClass.OTHER),
        ("session.json", NameClass.OTHER),
        ("mrc", NameClass.OTHER),
    ],
)
def test_names(relative: str, expected: NameClass) -> None:
    assert MovieSelection().classify(relative) is expected


def test_a_pattern_without_a_slash_is_for_the_name() -> None:
    selection = MovieSelection("*_fractions.tiff")
    assert selection.classify("deep/down/a_fractions.tiff") is NameClass.MOVIE
    assert selection.classify("deep/down/a.tiff") is NameClass.OTHER
    assert selection.reason_against("a.tiff") == "does not match the movie pattern *_fractions.tiff"


def test_a_pattern_with_a_slash_is_for_the_path() -> None:
    selection = MovieSelection("Images-Disc1/*/Data/*.mrc")
    assert selection.classify("Images-Disc1/GridSquare_1/Data/a.mrc") is NameClass.MOVIE
    assert selection.classify("Atlas/a.mrc") is NameClass.OTHER


def test_reference_folders_are_excluded_only_directly_under_the_raw_directory() -> None:
    selection = MovieSelection()
    assert selection.excludes("gains")
    assert not selection.excludes("frames/gains")
