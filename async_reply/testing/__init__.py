"""Helps the tests of a project: no broker, no worker, no threads and no pauses."""

from async_reply.attempts.reports import Ending, Report
from async_reply.testing.answers import accepted, result_of
from async_reply.testing.interruptions import (
    Interruption,
    WorkerLost,
    cancel_at,
    lose_at,
    stop_at,
    time_out_at,
)
from async_reply.testing.isolation import Operations, isolated
from async_reply.testing.jobs import FakeFile, FakeJob, Shown
from async_reply.testing.running import run_operations

__all__ = [
    "Ending",
    "FakeFile",
    "FakeJob",
    "Interruption",
    "Operations",
    "Report",
    "Shown",
    "WorkerLost",
    "accepted",
    "cancel_at",
    "isolated",
    "lose_at",
    "result_of",
    "run_operations",
    "stop_at",
    "time_out_at",
]
