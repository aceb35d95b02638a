"""Ids and hashes that come out the same whenever the same thing is met again."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import canonical_json, parameters_hash, stable_id
from daemon.domain.names import readable_path


def test_ids_are_stable_across_versions_of_elcano() -> None:
    assert stable_id("task", "movie", "ctf") == "86c01319-62e1-5fd3-89d3-6b0e5a540f15"
    assert stable_id("a", "b") == stable_id("a", "b") != stable_id("ab") != stable_id("a b")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_different_parts_give_different_ids(one: list[str], other: list[str]) -> None:
    separated = not any("\x1f" in part for part in one + other)
    assert not separated or (stable_id(*one) == stable_id(*other)) == (one == other)


def test_the_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert parameters_hash({"b": 1, "a": 2}) == parameters_hash({"a": 2, "b": 1}) != parameters_hash({"a": 2, "b": 2})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_dose_of_a_frame() -> None:
    assert Acquisition(dose_per_frame_e_per_ang2=1.2, total_dose_e_per_ang2=50).dose_per_frame(40) == 1.2
    assert Acquisition(total_dose_e_per_ang2=50).dose_per_frame(40) == 1.25
    assert Acquisition(total_dose_e_per_ang2=50).dose_per_frame(0) is None
    assert Acquisition().dose_per_frame(40) is None


def test_a_path_of_any_bytes_can_be_told() -> None:
    assert readable_path(Path("/a/ü.tif")) == "/a/ü.tif"
    assert readable_path(Path("/a/x\udcff.tif")) == "/a/x?.tif"
