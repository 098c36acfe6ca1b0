"""The room for worker processes: who supervises them, how they get their sockets, and what they tell each other."""

from msgtrans.workers.link import Worker, WorkerLink, current_worker
from msgtrans.workers.messages import Group, WorkerState
from msgtrans.workers.processes import Entry
from msgtrans.workers.serving import run
from msgtrans.workers.supervisor import Supervisor

__all__ = ["Entry", "Group", "Supervisor", "Worker", "WorkerLink", "WorkerState", "current_worker", "run"]
