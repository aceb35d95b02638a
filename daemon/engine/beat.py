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
from daemon.engine.disks import Disks
from daemon.engine.live import Live
from daemon.engine.scheduler import Scheduler
from daemon.messages.envelope import utc
from daemon.messages.event_data import DeviceLoad, NodeHeartbeat, StageHeartbeat
from daemon.pipeline.graph import StageGraph
from daemon.store.store import Store


class NodeBeat:
    """Looks at this process and at the store's counters."""

    def __init__(
        self,
        store: Store,
        graph: StageGraph,
        scheduler: Scheduler,
        instance: str,
        compute: ComputeThread,
        *,
        disks: Disks | None = None,
        live: Live | None = None,
    ) -> None:
        self._store = store
        self._graph = graph
        self._scheduler = scheduler
        self._instance = instance
        self._compute = compute
        self._disks = disks or Disks([])
        self._live = live
        self._computed_s = 0.0
        self._started_s = time.time()
        self._last = (time.monotonic(), time.process_time())

    async def look(self) -> Beat:
        """Return how things are now."""
        by_stage = await self._count_owed()
        disks = await self._disks.look()
        outlook = None if self._live is None else await self._live.outlook()
        now = utc(time.time())
        host = socket.gethostname()
        queues = self._scheduler.statistics()
        cpu_percent, compute_percent = self._shares()
        node = NodeHeartbeat(
            ts=now,
            host=host,
            instance=self._instance,
            pid=os.getpid(),
            version=__version__,
            uptime_s=time.time() - self._started_s,
            cpu_percent=cpu_percent,
            memory_used_bytes=_resident_bytes(),
            devices=[self._device_load(compute_percent)],
            queues={"waiting": queues.waiting, "delayed": queues.delayed, "in_flight": queues.in_flight},
            disks=disks,
            outlook=outlook,
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

    async def _count_owed(self) -> dict[str, Counter[TaskState]]:
        """Count tasks by stage and state, but those of files that were left alone: nothing is owed for them."""
        # Before all are counted: what is left alone stays so, and no number below can become less than nothing.
        left = await self._store.count_left_tasks()
        by_stage: dict[str, Counter[TaskState]] = {name: Counter() for name in self._graph.names}
        for (job_id, stage), counts in self._store.count_tasks().items():
            standing = Counter(counts) - left.get(job_id, {}).get(stage, Counter())
            by_stage.setdefault(stage, Counter()).update(standing)
        return by_stage

    def _shares(self) -> tuple[float, float | None]:
        """Return the share of one core used since the last look, and of the time that steps computed."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        before_wall_s, before_cpu_s = self._last
        self._last = (wall_s, cpu_s)
        passed_s = max(wall_s - before_wall_s, 1e-6)
        cpu_percent = 100 * (cpu_s - before_cpu_s) / passed_s
        if self._live is None:
            return cpu_percent, None
        before_s, self._computed_s = self._computed_s, self._live.compute_busy_s()
        return cpu_percent, min(100.0, 100 * (self._computed_s - before_s) / passed_s)

    def _device_load(self, busy_percent: float | None) -> DeviceLoad:
        facts, loaded = self._compute.facts, self._compute.loaded
        used_bytes = None if loaded is None else loaded.used_bytes()
        return DeviceLoad(
            name=facts.name,
            utilisation_percent=busy_percent,
            memory_used_bytes=used_bytes,
            memory_total_bytes=facts.memory_bytes,
        )


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a kernel file, not a path of ours
        return int(file.read().split()[1]) * resource.getpagesize()
