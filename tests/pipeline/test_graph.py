"""Order of stages: by what they consume and produce, by nothing else."""

import itertools
from typing import Any

import pytest

from daemon.pipeline.graph import StageGraph
from daemon.pipeline.product import Product
from daemon.stages import MOVIE_STAGES
from tests.engine.fakes import FAKES, MARK, SHARE, SUM, Add, Divide, FakeStage, Script

SCRIPT = Script()


def make(*stages: type[FakeStage]) -> StageGraph:
    return StageGraph.of(stage(SCRIPT) for stage in stages)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_any_order_of_declaration_gives_a_running_order(order: tuple[int, ...]) -> None:
    graph = make(*(FAKES[index] for index in order))
    for stage in graph.stages:
        before = graph.names[: graph.names.index(stage.name)]
        assert set(graph.upstream(stage.name)) <= set(before)
    assert set(graph.names) == {"add", "divide", "mark", "draw"}


def test_ties_keep_the_order_of_declaration() -> None:
    assert make(*FAKES).names == ("add", "divide", "mark", "draw")
    add, divide, mark, draw = FAKES
    assert make(draw, mark, divide, add).names == ("add", "draw", "divide", "mark")


def test_who_depends_on_whom() -> None:
    graph = make(*FAKES)
    assert graph.upstream("mark") == ("divide",)
    assert graph.upstream("add") == ()
    assert graph.downstream("add") == ("divide", "mark", "draw")
    assert graph.downstream("divide") == ("mark",)
    assert graph.downstream("mark") == ()
    assert graph.inputs("add") == ()
    assert graph.inputs("divide") == ((SUM, "add"),)
    assert graph.inputs("mark") == ((SHARE, "divide"),)
    assert graph["mark"].produces == (MARK,)
    with pytest.raises(KeyError):
        graph["nobody"]


@pytest.mark.parametrize(
    ("finished", "pending", "ready"),
    [
        ((), ("add", "divide", "mark", "draw"), ("add", "divide", "mark", "draw")),
        ((), ("divide", "mark", "draw"), ()),
        (("add",), ("mark", "draw", "divide"), ("divide", "mark", "draw")),
        (("add",), ("mark", "draw"), ("draw",)),
        (("divide",), ("mark",), ("mark",)),
        (("add", "divide"), (), ()),
    ],
)
def test_what_can_run_now(finished: tuple[str, ...], pending: tuple[str, ...], ready: tuple[str, ...]) -> None:
    assert make(*FAKES).ready(finished, pending) == ready


def test_an_input_that_nobody_makes_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"mark \(needs share\)"):
        make(Add, FAKES[2])


class Loop(FakeStage):
    """Consumes what its own output is made into."""

    name = "loop"
    consumes = (SHARE,)
    produces = (SUM,)


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody produces"):
        make(Loop, Divide)


class Twin(Add):
    """Another maker of the same products."""

    name = "twin"


@pytest.mark.parametrize(("twice", "said"), [((Add, Add), "stage declared twice: add"), ((Add, Twin), "noise, sum")])
def test_names_and_products_are_made_once(twice: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(*twice)


def test_the_real_stages_sort_and_their_files_do_not_collide() -> None:
    graph = StageGraph.of(MOVIE_STAGES)
    assert graph.names[0] == "motion_correction"
    made: list[Product] = [product for stage in graph.stages for product in stage.produces]
    places = [(product.category, product.suffix) for product in made]
    assert len(set(places)) == len(places)
    for stage in graph.stages:
        assert all(product.category == stage.category for product in stage.produces)
        assert set(stage.optional) <= set(stage.produces)
        stage.Params()
