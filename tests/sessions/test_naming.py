import re
from pathlib import PurePosixPath as Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.names import name_problem
from daemon.sessions.naming import ImageKind, ImageNames, LeginonName, parse_leginon_name, safe_name


def test_every_step_of_a_leginon_tree() -> None:
    name: str | None = "24dec03a_gridA_00031gr_00001sq_v01_00004hl_v02_00002ex"
    seen: list[LeginonName] = []
    while name is not None:
        parsed = parse_leginon_name(name)
        assert parsed is not None
        seen.append(parsed)
        name = parsed.parent
    assert [(step.kind, step.number, step.visit) for step in seen] == [
        (ImageKind.EXPOSURE, 2, None),
        (ImageKind.HOLE, 4, "v02"),
        (ImageKind.SQUARE, 1, "v01"),
        (ImageKind.GRID, 31, None),
    ]
    assert [step.kind.level for step in seen] == [4, 3, 2, 1]
    assert {step.session for step in seen} == {"24dec03a_gridA"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_",
        "x",
        "v01",
        "24dec03a",
        "00031gr",
        "00031gr_00001sq",
        "24dec03a_31gr",
        "24dec03a_00031GR",
        "a_00001zz",
        "FoilHole_9015883_Data_9017347_6_20250108_154915",
        "24dec03a_00001ex_fractions",
        "_v01",
        "a_v01",
    ],
)
def test_other_names_are_no_leginon_names(name: str) -> None:
    assert parse_leginon_name(name) is None


def test_a_session_may_look_like_a_visit() -> None:
    assert parse_leginon_name("v01_00001gr") == LeginonName("v01", ImageKind.GRID, 1, None, None)


tokens = st.tuples(st.integers(0, 99999), st.booleans(), st.integers(1, 99))


@settings(deadline=None, max_examples=100)
@given(st.from_regex(r"[a-z0-9]{3,8}(_g\d)?", fullmatch=True), st.lists(tokens, min_size=1, max_size=4))
def test_names_built_by_the_grammar_come_apart_again(session: str, steps: list[tuple[int, bool, int]]) -> None:
    name, parent = session, None
    for kind, (number, visited, visit) in zip(("gr", "sq", "hl", "ex"), steps, strict=False):
        before, name = name, f"{name}_{number:05d}{kind}" + (f"_v{visit:02d}" if visited else "")
        parent = before if before != session else None
    parsed = parse_leginon_name(name)
    assert parsed is not None
    assert (parsed.session, parsed.parent, parsed.number) == (session, parent, steps[:4][-1][0])


def test_a_name_is_the_record_s_else_the_stem_else_with_the_folder() -> None:
    names = ImageNames()
    assert names.give(Path("frames/m7.tif"), "24dec03a_00002ex") == "24dec03a_00002ex"
    assert names.give(Path("frames/x.mrc.tif")) == "x"
    assert names.give(Path("frames/x_fractions.tiff")) == "x_fractions"
    assert names.give(Path("A/Data/x.tif")) == "Data__x"
    assert names.give(Path("B/Data/x.tif")) == "B__Data__x"
    assert names.give(Path("again/m7.tif"), "24dec03a_00002ex") == "again__m7"
    at_top = names.give(Path("x.tif"))
    assert re.fullmatch(r"x-[0-9a-f]{8}", at_top)
    assert names.give(Path("x.tif")) == at_top


def test_names_given_before_are_kept() -> None:
    first = ImageNames()
    movies = [Path("a/x.tif"), Path("b/x.tif")]
    given = {movie: first.give(movie) for movie in movies}
    later = ImageNames(given.items())
    assert later.give(Path("c/x.tif")) == "c__x"
    assert [later.give(movie) for movie in reversed(movies)] == ["b__x", "x"]


paths = st.lists(
    st.text(st.characters(codec=None, exclude_characters="/\0"), min_size=1, max_size=120).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(paths, max_size=12), st.sampled_from([".tif", ".mrc", ".eer"]))
def test_names_are_unique_safe_and_stable(movies: list[list[str]], suffix: str) -> None:
    names = ImageNames()
    given = {movie: names.give(movie) for movie in (Path(*parts[:-1], parts[-1] + suffix) for parts in movies)}
    assert len(set(given.values())) == len(given)
    assert [name_problem(name) for name in given.values()] == [""] * len(given)
    assert {movie: names.give(movie) for movie in given} == given


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=300), st.text(max_size=300))
def test_safe_names_stay_apart(one: str, other: str) -> None:
    assert name_problem(safe_name(one)) == ""
    assert (safe_name(one) == safe_name(other)) == (one == other)
    if not name_problem(one):
        assert safe_name(one) == one
