"""Jobs as their summaries tell them, with what follows from those: how much is done, how fast, how long it takes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from daemon.messages.event_data import JobSummary
from tui.core.calling import call_session
from tui.core.rates import pace_by_minute, time_left_s

_ENDED = ("completed", "failed", "cancelled", "skipped")


@dataclass(frozen=True)
class StepCount:
    """How many tasks of a step, or of all steps of a job, are in each state."""

    done: int = 0
    running: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    waiting: int = 0

    @classmethod
    def of(cls, states: Mapping[str, int]) -> "StepCount":
        """Read a summary's counts."""
        return cls(
            done=states.get("completed", 0),
            running=states.get("running", 0),
            failed=states.get("failed", 0),
            skipped=states.get("skipped", 0),
            cancelled=states.get("cancelled", 0),
            waiting=states.get("pending", 0),
        )

    def __add__(self, other: "StepCount") -> "StepCount":
        return StepCount(
            self.done + other.done,
            self.running + other.running,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.cancelled + other.cancelled,
            self.waiting + other.waiting,
        )

    @property
    def total(self) -> int:
        """All tasks."""
        return self.ended + self.running + self.waiting

    @property
    def ended(self) -> int:
        """Those of which nothing more comes by itself."""
        return self.done + self.failed + self.skipped + self.cancelled

    @property
    def left(self) -> int:
        """Those that wait or run."""
        return self.running + self.waiting


@dataclass
class Job:
    """One job as it stands."""

    summary: JobSummary
    steps: dict[str, StepCount] = field(default_factory=dict)
    total: StepCount = field(default_factory=StepCount)

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.summary.job_id

    @property
    def session(self) -> str:
        """Name of its session."""
        return self.summary.session

    @property
    def called(self) -> str:
        """What people call its session: by its title, with the name behind."""
        return call_session(self.summary.title, self.summary.session)

    @property
    def state(self) -> str:
        """Its state; `idle` while it runs for an open session and has nothing to do."""
        is_idle = self.summary.state == "running" and not self.total.left
        return "idle" if is_idle else self.summary.state

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.summary.state in _ENDED

    @property
    def started_s(self) -> float | None:
        """When it was made; None where the daemon does not tell."""
        made = self.summary.created_at
        return None if made is None else made.timestamp()

    def elapsed_s(self, now_s: float) -> float | None:
        """How long it has been going on, or went on."""
        started_s = self.started_s
        if started_s is None:
            return None
        return (self.summary.updated_at.timestamp() if self.is_over else now_s) - started_s

    def left_s(self, now_s: float) -> float | None:
        """How long until everything that is owed now is done, at the pace of the last minutes: the same for everyone.

        As many images are owed as the step that most of them wait for has.
        """
        if self.is_over or not self.total.left:
            return None
        return time_left_s(max(count.left for count in self.steps.values()), self.images_per_second(now_s))

    def images_per_second(self, now_s: float) -> float | None:
        """Images that went through every step and did not fail, lately; None where there is nothing to do any more."""
        if self.is_over:
            return None
        told_s = self.summary.updated_at.timestamp()
        return pace_by_minute(self.summary.processed_lately, told_s, now_s, has_more=self.total.left > 0)

    def take(self, summary: JobSummary) -> None:
        """Take a newer summary."""
        self.summary = summary
        self.steps = {step: StepCount.of(states) for step, states in summary.steps.items()}
        self.total = sum(self.steps.values(), StepCount())


class Jobs:
    """All jobs; rows keep their place, so that a number may stand for a job."""

    def __init__(self) -> None:
        self.rows: list[Job] = []
        self._row_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.rows)

    def get(self, job_id: str) -> Job | None:
        """Return a job by id."""
        row = self._row_of.get(job_id)
        return None if row is None else self.rows[row]

    def row_of(self, job_id: str) -> int | None:
        """Return the row of a job."""
        return self._row_of.get(job_id)

    def take(self, summary: JobSummary) -> int:
        """Take a summary and return its row."""
        row = self._row_of.get(summary.job_id)
        if row is None:
            row = self._row_of[summary.job_id] = len(self.rows)
            self.rows.append(Job(summary))
        self.rows[row].take(summary)
        return row

    def steps(self, rows: Iterable[int] | None = None) -> list[str]:
        """Return every step that any of these jobs has, in pipeline order."""
        jobs = self.rows if rows is None else [self.rows[row] for row in rows]
        return list(dict.fromkeys(step for job in sorted(jobs, key=lambda job: -len(job.steps)) for step in job.steps))
