"""Pictures: which micrographs, how large, and what of damaged ones."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from daemon.formats.jpeg import write_jpeg
from daemon.formats.png import write_png
from daemon.reports.pictures import KINDS, Album, choose_examples

THUMBNAIL, PLOT, _ = KINDS


def rows(resolutions: list[float | None]) -> list[dict[str, object]]:
    """Micrographs with these resolutions; a negative one is not to be trusted, None has no CTF at all."""
    return [
        {"name": f"m{number:02d}", "fit_resolution_ang": resolution and abs(resolution),
         "ctf_confident": None if resolution is None else resolution > 0}
        for number, resolution in enumerate(resolutions)
    ]  # fmt: skip


def names(chosen: dict[str, list[dict[str, object]]]) -> dict[str, list[object]]:
    return {which: [row["name"] for row in found] for which, found in chosen.items()}


def test_best_median_and_worst() -> None:
    chosen = names(choose_examples(rows([5.0, -1.0, 3.0, None, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])))
    assert chosen == {"best": ["m02", "m04", "m00"], "median": ["m05", "m06", "m07"], "worst": ["m09", "m10", "m01"]}


def test_of_few_nobody_is_shown_twice() -> None:
    assert names(choose_examples(rows([None]))) == {"best": [], "median": [], "worst": []}
    assert names(choose_examples(rows([4.0]))) == {"best": ["m00"], "median": [], "worst": []}
    assert names(choose_examples(rows([4.0, 3.0]))) == {"best": ["m01"], "median": [], "worst": ["m00"]}
    for number in range(3, 15):
        found = names(choose_examples(rows([float(n + 1) for n in range(number)])))
        chosen = [name for some in found.values() for name in some]
        assert len(chosen) == len(set(chosen)) == min(number - number % 3, 9)


def test_pictures_are_made_small(tmp_path: Path) -> None:
    path = tmp_path / "ctf" / "a_ctf.png"
    path.parent.mkdir()
    write_png(path, np.zeros((1200, 3000, 3), dtype=np.uint8))
    embedded = Album(tmp_path).embed(PLOT, "a")
    assert embedded is not None
    kind, _, text = embedded.uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(text))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (900, 360))
    assert (embedded.width_px, embedded.height_px) == (900, 360)


def test_the_album_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (494, 494), dtype=np.uint8)
    for name in "abc":
        write_jpeg(tmp_path / "thumbnails" / f"{name}.jpg", noise)
    one = Album(tmp_path).embed(THUMBNAIL, "a")
    assert one is not None
    album = Album(tmp_path, budget_bytes=2 * len(one.uri) + 100)
    assert [album.embed(THUMBNAIL, name) is not None for name in "abc"] == [True, True, False]
    assert (album.embedded, album.left_out, album.unreadable) == (2, 1, [])


def test_what_is_missing_or_damaged_is_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    album = Album(tmp_path)
    assert album.embed(THUMBNAIL, "gone") is None
    assert album.embed(THUMBNAIL, "cut") is None
    assert len(album.unreadable) == 1
    assert "thumbnails/cut.jpg: cannot be read" in album.unreadable[0]
