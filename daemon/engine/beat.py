"""What a node's heartbeat says: load, queues, and how each stage stands."""

import os
import resource
import socket
import time
from collections import Counter

from daemon import __version__
from daemon.bus.heartbeat import Beat
from daemon.domain.states import TaskState
from daemon.engine.compute import ComputeThread
from daemon.engine.scheduler import Scheduler
from daemon.messages.envelope import utc
from daemon.messages.event_data import DeviceLoad, NodeHeartbeat, StageHeartbeat
from daemon.pipeline.graph import StageGraph
from daemon.store.store import Store


class NodeBeat:
    """Looks at this process and at the store's counters."""

    def __init__(
        self, store: Store, graph: StageGraph, scheduler: Scheduler, instance: str, compute: ComputeThread
    ) -> None:
        self._store = store
        self._graph = graph
        self._scheduler = scheduler
        self._instance = instance
        self._compute = compute
        self._started_s = time.time()
        self._last = (time.monotonic(), time.process_time())

    def look(self) -> Beat:
        """Return how things are now."""
        now = utc(time.time())
        host = socket.gethostname()
        by_stage: dict[str, Counter[TaskState]] = {name: Counter() for name in self._graph.names}
        for (_, stage), counts in self._store.count_tasks().items():
            by_stage.setdefault(stage, Counter()).update(counts)
        queues = self._scheduler.statistics()
        node = NodeHeartbeat(
            ts=now,
            host=host,
            instance=self._instance,
            pid=os.getpid(),
            version=__version__,
            uptime_s=time.time() - self._started_s,
            cpu_percent=self._cpu_percent(),
            memory_used_bytes=_resident_bytes(),
            devices=[self._device_load()],
            queues={"waiting": queues.waiting, "delayed": queues.delayed, "in_flight": queues.in_flight},
        )
        stages = [
            StageHeartbeat(
                ts=now,
                host=host,
                instance=self._instance,
                category=stage.category,
                stage=stage.slug,
                waiting=by_stage[stage.name][TaskState.PENDING],
                running=by_stage[stage.name][TaskState.RUNNING],
                completed=by_stage[stage.name][TaskState.COMPLETED],
                failed=by_stage[stage.name][TaskState.FAILED],
            )
            for stage in self._graph.stages
        ]
        return Beat(node, stages)

    def _cpu_percent(self) -> float:
        """Return the share of one core used since the last look."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        before_wall_s, before_cpu_s = self._last
        self._last = (wall_s, cpu_s)
        return 100 * (cpu_s - before_cpu_s) / max(wall_s - before_wall_s, 1e-6)

    def _device_load(self) -> DeviceLoad:
        facts, loaded = self._compute.facts, self._compute.loaded
        used_bytes = None if loaded is None else loaded.used_bytes()
        return DeviceLoad(name=facts.name, memory_used_bytes=used_bytes, memory_total_bytes=facts.memory_bytes)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a kernel file, not a path of ours
        return int(file.read().split()[1]) * resource.getpagesize()
