"""The evidence that a run of the fault suite leaves to its judges."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.faults.clients import ClientRequest
from tests.faults.journal import Entry


@dataclass
class Evidence:
    """The rows, the journal and the clients' requests after a run.

    `outages`: from when to when the database, or a process, was away.
    """

    rows: dict[str, list[dict[str, Any]]]
    journal: list[Entry]
    requests: list[ClientRequest]
    lease: float = 0.0
    outages: list[tuple[float, float]] = field(default_factory=list)

    @cached_property
    def operations(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.rows["operations"]}

    @cached_property
    def starts(self) -> dict[str, list[Entry]]:
        starts = defaultdict(list)
        for entry in self.journal:
            if entry.event == "start":
                starts[entry.id].append(entry)
        return dict(starts)

    @property
    def accepted(self) -> list[ClientRequest]:
        return [request for request in self.requests if request.id]
