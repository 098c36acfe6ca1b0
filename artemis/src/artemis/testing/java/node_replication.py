"""How a Java node tells the others (spec 7.1 to 7.4), with defects 13 to 15: what it drops, brings back and delays.

Not here: the calls that come in, which are doors like others (`node_doors`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from artemis.testing.java.beans import Bean, Json, child, children, instance_key
from artemis.testing.java.deadlines import Kind
from artemis.testing.java.http import HttpClient, HttpFailedError

_KINDS = {"register": Kind.REGISTER, "heartbeat": Kind.HEARTBEAT, "unregister": Kind.UNREGISTER}
_PERMANENT = frozenset({"bad-request", "no-permission", "internal-service-error", "service-unavailable"})
_WRITE_COMPLETE_WAIT = 0.005

TaskId = tuple[str, tuple[str, str, str], str]


@dataclass(frozen=True, slots=True)
class Task:
    """One instance for one peer, or for all when `target` is empty. Times are those of `time.monotonic`."""

    kind: str
    bean: Bean
    target: str
    created: float
    expires: float

    @property
    def task_id(self) -> TaskId:
        """What a newer task with the same replaces."""
        return self.kind, instance_key(self.bean), self.target


class Dispatcher:
    """One of the two dispatchers of a node: with `batch_delay` seconds the batching one, without each task at once.

    `targets` returns the peers that serve registry; `counters` counts what became of tasks.
    """

    def __init__(
        self,
        http: HttpClient,
        api: str,
        targets: Callable[[], list[str]],
        *,
        batch_delay: float = 0.0,
        batch_size: int = 250,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._http = http
        self._api = api
        self._targets = targets
        self._batch_delay = batch_delay
        self._batch_size = batch_size
        self._waiting: dict[TaskId, Task] = {}
        self._works: set[asyncio.Task[None]] = set()
        self._intake = asyncio.Event()
        self._acceptor: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Accept tasks."""
        self._acceptor = asyncio.create_task(self._accept())

    async def stop(self) -> None:
        """Drop everything."""
        tasks = [*self._works, *([] if self._acceptor is None else [self._acceptor])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, task: Task) -> None:
        """Take a task; one with the same id that waits is replaced, and keeps place and age."""
        waiting = self._waiting.get(task.task_id)
        if waiting is not None:
            task = replace(task, created=waiting.created)
        self._waiting[task.task_id] = task
        self._intake.set()

    async def _accept(self) -> None:
        while True:
            await self._intake.wait()
            await asyncio.sleep(_WRITE_COMPLETE_WAIT)
            if self._batch_delay and len(self._waiting) < self._batch_size:
                oldest = min((task.created for task in self._waiting.values()), default=0.0)
                left = oldest + self._batch_delay - time.monotonic()
                if left > 0:
                    await asyncio.sleep(min(left, 0.05))
                    continue
            self._intake.clear()
            tasks, self._waiting = list(self._waiting.values()), {}
            size = self._batch_size if self._batch_delay else 1
            for kind in dict.fromkeys((task.kind, task.target) for task in tasks):
                same = [task for task in tasks if (task.kind, task.target) == kind]
                for start in range(0, len(same), size):
                    self._work(same[start : start + size])

    def _work(self, tasks: list[Task]) -> None:
        work = asyncio.ensure_future(self._dispatch(tasks))
        self._works.add(work)
        work.add_done_callback(self._works.discard)

    async def _dispatch(self, tasks: list[Task]) -> None:
        """A worker: one peer after the other (defect 15)."""
        now = time.monotonic()
        alive = [task for task in tasks if task.expires > now]
        self.counters["expired"] += len(tasks) - len(alive)
        if not alive:
            return
        serving = self._targets()
        for target in serving if not alive[0].target else [url for url in serving if url == alive[0].target]:
            await self._tell(target, alive)

    async def _tell(self, target: str, tasks: list[Task]) -> None:
        kind = tasks[0].kind
        beans: list[Json] = [task.bean for task in tasks]
        url = f"{target.rstrip('/')}{self._api}/replication/registry/{kind}.json"
        try:
            answer = await self._http.post(url, {"instances": beans}, _KINDS[kind])
        except HttpFailedError:
            answer = {"responseStatus": {"status": "fail", "errorCode": "unknown"}}
        status = child(answer, "responseStatus")
        code = str(status.get("errorCode"))
        if status.get("status") == "success":
            self.counters["told"] += len(tasks)
            return
        failed = {task.task_id: code for task in tasks}
        if status.get("status") == "partial_fail":
            codes = {
                instance_key(child(each, "instance")): each.get("errorCode")
                for each in children(answer, "failedInstances")
            }
            failed = {
                task.task_id: str(codes[instance_key(task.bean)]) for task in tasks if instance_key(task.bean) in codes
            }
        self.counters["told"] += len(tasks) - len(failed)
        for number, task in enumerate(task for task in tasks if task.task_id in failed):
            if failed[task.task_id] in _PERMANENT:
                self.counters["refused"] += 1
                continue
            self.counters["again"] += 1
            self.counters["dropped by defect 13"] += len(failed) - number - 1
            again = replace(task, target=target)
            if again.task_id not in self._waiting:
                self._waiting = {again.task_id: again, **self._waiting}
                self._intake.set()
            return
