"""Measures the memory of processes, as Linux counts it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from demo_project.processes import Process

MIB = 1024 * 1024


class Peaks:
    """Measures how much each process of some sessions has grown since the start."""

    def __init__(self, processes: list[Process]) -> None:
        self._sessions = {process.popen.pid: process.name for process in processes}
        self._held = {pid: _status(pid, "VmRSS") for pid in self._members()}
        for pid in self._held:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM

    def growth(self) -> dict[str, int]:
        """The most that a process of each name grew, in bytes."""
        most: dict[str, int] = {}
        for pid, name in self._members().items():
            grown = _status(pid, "VmHWM") - self._held.get(pid, 0)
            most[name] = max(grown, most.get(name, 0))
        return most

    def _members(self) -> dict[int, str]:
        return {pid: self._sessions[sid] for pid, sid in _all() if sid in self._sessions}


def _all() -> Iterator[tuple[int, int]]:
    """(process, session) of all processes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            yield int(path.parent.name), int(fields[3])


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie holds nothing
