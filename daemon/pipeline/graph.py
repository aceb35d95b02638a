"""The order of stages, derived from what each consumes and produces."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.pipeline.product import MOVIE, Product
from daemon.pipeline.stage import MovieStage

AnyStage = MovieStage[Any]


@dataclass(frozen=True)
class StageGraph:
    """Stages in an order that respects their products; ties keep the order of declaration."""

    stages: tuple[AnyStage, ...]

    @classmethod
    def of(cls, stages: Iterable[AnyStage]) -> "StageGraph":
        """Sort stages topologically.

        Raises ValueError for a name or product that comes twice, a consumed product that nobody makes, or a cycle.
        """
        waiting = list(stages)
        _refuse_repeats("stage", [stage.name for stage in waiting])
        _refuse_repeats("product", [product.name for stage in waiting for product in stage.produces])
        known = {MOVIE}
        ordered: list[AnyStage] = []
        while waiting:
            ready = next((stage for stage in waiting if set(stage.consumes) <= known), None)
            if ready is None:
                blocked = ", ".join(
                    f"{stage.name} (needs {', '.join(p.name for p in stage.consumes if p not in known)})"
                    for stage in waiting
                )
                raise ValueError(f"stages whose inputs nobody produces: {blocked}")
            waiting.remove(ready)
            known.update(ready.produces)
            ordered.append(ready)
        return cls(tuple(ordered))

    def __getitem__(self, name: str) -> AnyStage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names in running order."""
        return tuple(stage.name for stage in self.stages)

    def inputs(self, name: str) -> tuple[tuple[Product, str], ...]:
        """Products that `name` consumes, each with the name of the stage that makes it; the movie is left out."""
        makers = {product: stage.name for stage in self.stages for product in stage.produces}
        return tuple((product, makers[product]) for product in self[name].consumes if product is not MOVIE)

    def upstream(self, name: str) -> tuple[str, ...]:
        """Names of the stages whose products `name` consumes directly."""
        wanted = set(self[name].consumes)
        return tuple(stage.name for stage in self.stages if wanted & set(stage.produces))

    def downstream(self, name: str) -> tuple[str, ...]:
        """Names of all stages that depend on `name`, directly or not, in running order."""
        reached = {name}
        for stage in self.stages:
            if reached & set(self.upstream(stage.name)):
                reached.add(stage.name)
        return tuple(stage.name for stage in self.stages if stage.name in reached and stage.name != name)

    def ready(self, finished: Iterable[str], pending: Sequence[str]) -> tuple[str, ...]:
        """Return the pending stages whose inputs are, or within this very selection will be, there.

        A stage that is neither finished nor pending, because nobody asked for it, keeps back what depends on it.
        """
        done = set(finished)
        segment: list[str] = []
        for stage in self.stages:
            if stage.name in pending and set(self.upstream(stage.name)) <= done | set(segment):
                segment.append(stage.name)
        return tuple(segment)


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} declared twice: {', '.join(repeated)}")
