"""Values survive the way into a table and back."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.acquisition import Acquisition, CameraReference, EerFractions, GainReference
from daemon.store.rows import (
    decode_acquisition,
    decode_path,
    encode_acquisition,
    encode_path,
    to_optional_seconds,
    to_seconds,
    to_timestamp,
)

paths = st.binary(min_size=1, max_size=30).map(lambda raw: Path("/" + os.fsdecode(raw.replace(b"\0", b"_"))))
numbers = st.none() | st.floats(1e-3, 1e6)
acquisitions = st.builds(
    Acquisition,
    voltage_kv=numbers,
    pixel_size_ang=numbers,
    total_dose_e_per_ang2=numbers,
    magnification=st.none() | st.integers(1, 10**6),
    defocus_range_um=st.none() | st.tuples(st.floats(0, 5), st.floats(0, 5)),
    phase_plate=st.booleans(),
    gain=st.none() | st.builds(GainReference, paths, flip=st.sampled_from(["none", "x", "y"]), rotate_deg=st.just(90)),
    dark=st.none() | st.builds(CameraReference, paths, flip=st.sampled_from(["none", "x", "y"])),
    defects=st.none() | st.builds(CameraReference, paths),
    movie_pattern=st.none() | st.text(st.characters(codec="utf-8"), max_size=10),
    eer=st.builds(EerFractions, st.integers(1, 1000), st.sampled_from([1, 2, 4])),
)


@settings(deadline=None, max_examples=100)
@given(paths)
def test_every_file_name_comes_back(path: Path) -> None:
    text = encode_path(path)
    text.encode()
    assert decode_path(text) == path


@settings(deadline=None, max_examples=60)
@given(acquisitions)
def test_every_acquisition_comes_back(acquisition: Acquisition) -> None:
    assert decode_acquisition(encode_acquisition(acquisition)) == acquisition


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 4e9))
def test_times_come_back_to_the_microsecond(seconds: float) -> None:
    timestamp = to_timestamp(seconds)
    assert timestamp is not None
    assert timestamp.tzinfo is None
    assert abs(to_seconds(timestamp) - seconds) <= 1.1e-6
    assert to_timestamp(None) is None
    assert to_optional_seconds(None) is None
