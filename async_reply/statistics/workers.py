"""Reads which workers live, and which operations their processes run."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from async_reply.models import Operation
from async_reply.publishing import queues

#: The most running operations that are read.
ROWS_READ = 5000


@dataclass(frozen=True)
class RunningJob:
    """An operation that a process of a worker runs now."""

    id: UUID
    kind: str
    #: When the attempt began.
    since: datetime | None
    #: The operating system's number of the process.
    pid: int | None


@dataclass
class LivingWorker:
    """A worker that was seen within a minute."""

    id: UUID
    name: str
    host: str
    pid: int
    #: When it first reported itself, some seconds after its start.
    started_at: datetime
    seen_at: datetime
    #: Jobs that it can run at once.
    concurrency: int
    queues: list[str]
    #: Oldest first.
    running: list[RunningJob] = field(default_factory=list)

    @property
    def idle(self) -> int:
        """Jobs that it could run beside those that run; 0 for a worker that stops."""
        return max(0, self.concurrency - len(self.running)) if self.queues else 0


def living() -> list[LivingWorker]:
    """The living workers by name, with the operations that they run, by two queries.

    Two workers may have one name. Each is given the operations of its own processes.
    """
    by_boot: dict[str, LivingWorker] = {}
    for row in queues.living().order_by("name", "id"):
        columns = (row.id, row.name, row.host, row.pid, row.started_at, row.seen_at)
        by_boot[row.boot_id or str(row.id)] = LivingWorker(
            *columns, concurrency=row.concurrency, queues=row.queues
        )
    active = Operation.objects.active().values_list("id", "kind", "started_at", "worker")
    for pk, kind, since, process in sorted(active[:ROWS_READ]):
        # The name of a process is `node/pid-boot`.
        pid, _, boot = process.rpartition("/")[2].partition("-")
        if boot in by_boot:
            number = int(pid) if pid.isdecimal() else None
            by_boot[boot].running.append(RunningJob(pk, kind, since, number))
    return list(by_boot.values())
