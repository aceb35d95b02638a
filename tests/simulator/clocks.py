"""Time for tests: it passes only when someone sleeps."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class FakeClock:
    """Counts slept seconds; `on_sleep` looks at the world just before time passes."""

    moment_s: float = 1000.0
    slept_s: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def now_s(self) -> float:
        return self.moment_s

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.slept_s.append(seconds)
        self.moment_s += seconds
