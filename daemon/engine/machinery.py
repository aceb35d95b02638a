"""What all visits share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.engine.budget import ByteBudget
from daemon.engine.compute import ComputeThread
from daemon.engine.context import OutputRules, Witness
from daemon.engine.gatekeeper import Gatekeeper
from daemon.engine.inputs import CameraCache
from daemon.engine.pace import Pace
from daemon.engine.pauses import Pauses
from daemon.engine.recorder import Recorder
from daemon.engine.space import DiskReserve
from daemon.engine.threads import FileThreads
from daemon.engine.troubles import Troubles
from daemon.pipeline.graph import StageGraph


@dataclass(frozen=True)
class Machinery:
    """The parts of the engine that a visit works with."""

    graph: StageGraph
    recorder: Recorder
    pauses: Pauses
    gatekeeper: Gatekeeper
    compute: ComputeThread
    readers: FileThreads
    writers: FileThreads
    camera: CameraCache
    budget: ByteBudget
    witness: Witness
    rules: OutputRules
    room: DiskReserve
    troubles: Troubles
    on_hung: Callable[[], None]
    decode_threads: int
    threads: int
    """Of the computation, in a process of its own too."""
    pace: Pace = field(default_factory=Pace)
    """How long the parts of the work take of their own."""
