"""Plans of simulated sessions and their session.json."""

import dataclasses
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.movie import MovieFormat
from daemon.errors import SimulationInvalid
from daemon.simulator.plan import SIZES, MovieSize, SessionRequest, derive_seed, plan_session
from daemon.simulator.session_json import format_session_json


def _exposures(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for image in images:
        found += [image] if "children" not in image else _exposures(image["children"])
    return found


def test_a_plan_depends_on_its_request_alone_and_grows_at_its_end() -> None:
    short, long = (plan_session(SessionRequest("24dec03a", count)) for count in (5, 9))
    assert plan_session(SessionRequest("24dec03a", 5)) == short
    assert long.movies[:5] == short.movies
    other = plan_session(SessionRequest("24dec03a", 5, seed=2))
    assert all(one.seed != two.seed for one, two in zip(short.movies, other.movies, strict=True))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.sampled_from(["mrc", "tiff", "eer", "mixed"]), st.integers())
def test_movies_have_names_of_their_own_and_optics_in_range(count: int, movie_format: Any, seed: int) -> None:
    plan = plan_session(SessionRequest("s", count, movie_format=movie_format, seed=seed))
    assert len({movie.name for movie in plan.movies}) == count
    assert len({movie.seed for movie in plan.movies}) == count
    for movie in plan.movies:
        assert movie.defocus_u_ang >= movie.defocus_v_ang
        assert 8_000 <= (movie.defocus_u_ang + movie.defocus_v_ang) / 2 <= 22_000
        assert movie.defocus_u_ang - movie.defocus_v_ang <= 600
        assert movie.name.startswith(movie.lineage[2] + "_")
        assert movie.lineage[2].startswith(movie.lineage[1] + "_")
        assert movie.lineage[1].startswith(movie.lineage[0] + "_")


def test_formats_take_turns_in_a_mixed_session() -> None:
    plan = plan_session(SessionRequest("s", 6, movie_format="mixed"))
    assert [movie.format for movie in plan.movies] == [MovieFormat.MRC, MovieFormat.TIFF, MovieFormat.EER] * 2
    assert [movie.file_name.rsplit(".")[-1] for movie in plan.movies[:3]] == ["mrc", "tif", "eer"]


def test_every_kind_has_its_turn() -> None:
    plan = plan_session(SessionRequest("s", 8, movie_format="all"))
    kinds = [movie.kind for movie in plan.movies]
    assert kinds[:7] == ["mrc", "tiff", "eer", "mrc4", "tiff-tiled", "eer65000", "eer65002"]
    assert kinds[7] == "mrc"
    assert {movie.kind for movie in plan_session(SessionRequest("s", 3, movie_format="eer65000")).movies} == {
        "eer65000"
    }


def test_names_are_leginons() -> None:
    movies = plan_session(SessionRequest("24dec03a", 61)).movies
    assert movies[0].name == "24dec03a_00001gr_00001sq_v01_00001hl_00002ex"
    assert movies[4].name == "24dec03a_00001gr_00001sq_v01_00002hl_00003ex"
    assert movies[60].name == "24dec03a_00002gr_00001sq_v01_00001hl_00002ex"


def test_event_cameras_read_out_five_times_a_frame_at_least() -> None:
    assert plan_session(SessionRequest("s", 1, SIZES["small"])).hardware_frames_per_frame == 15
    weak = dataclasses.replace(SIZES["tiny"], electrons_per_px=0.05)
    assert plan_session(SessionRequest("s", 1, weak)).hardware_frames_per_frame == 5


def test_session_json_holds_the_tree_and_the_acquisition() -> None:
    plan = plan_session(SessionRequest("24dec03a", 7, SIZES["k3"]))
    text = format_session_json(plan)
    assert format_session_json(plan) == text
    document = json.loads(text)
    exposures = _exposures(document["images"])
    assert [exposure["name"] for exposure in exposures] == [movie.name for movie in plan.movies]
    first = exposures[0]
    assert (first["level"], first["dimension_x"], first["frame_count"]) == (4, 5760, 40)
    # Decimals travel as strings: metres, negative underfocus, kV, total dose.
    assert float(first["pixel_size"]) == pytest.approx(0.83e-10)
    assert float(first["dose"]) == pytest.approx(40 / 0.83**2)
    assert float(first["defocus"]) < 0
    assert float(first["acceleration_voltage"]) == 300.0
    assert document["acquisition"]["pixel_size_ang"] == 0.83
    assert document["acquisition"]["gain"]["path"] == "gains/gain.mrc"
    levels = [document["images"][0]]
    while "children" in levels[-1]:
        levels.append(levels[-1]["children"][0])
    assert [image["level"] for image in levels] == [1, 2, 3, 4]
    assert all(child["parent_id"] == parent["oid"] for parent, child in pairwise(levels))


def test_a_magellon_export_knows_no_pixel_size_and_no_acquisition_block() -> None:
    document = json.loads(format_session_json(plan_session(SessionRequest("s", 2, manifest="magellon"))))
    assert "acquisition" not in document
    assert {exposure["pixel_size"] for exposure in _exposures(document["images"])} == {"0E-10"}


def test_seeds_differ_by_purpose() -> None:
    assert derive_seed(1, "a") == derive_seed(1, "a")
    assert len({derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(2, "a"), derive_seed(1, "a", 0)}) == 4
    assert 0 <= derive_seed(-5, "a") < 2**62


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": "../up"}, "session name"),
        ({"name": ""}, "session name"),
        ({"movies": 0}, "0 movies"),
        ({"size": MovieSize(32, 512, 3, 1.0, 1.0)}, "32 × 512"),
        ({"size": MovieSize(512, 512, 0, 1.0, 1.0)}, "0 frames"),
        ({"size": MovieSize(512, 512, 3, 0.0, 1.0)}, "pixel size"),
        ({"size": MovieSize(512, 512, 3, 1.0, 0.0)}, "e⁻ per pixel"),
        ({"defocus_range_ang": (2e4, 1e4)}, "defocus range"),
        ({"greatest_astigmatism_ang": 2e5}, "astigmatism"),
        ({"voltage_kv": 30.0}, "30 kV"),
    ],
)
def test_impossible_sessions_are_refused_in_one_sentence(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SimulationInvalid, match=named) as caught:
        plan_session(dataclasses.replace(SessionRequest("s", 1), **changes))
    assert caught.value.hint
