"""The table client x outcome."""

import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from tests import boards
from tests.boards import Place

#: The first word of a test's name -> what its column is called.
OUTCOMES = {
    "success": "success",
    "failure": "failure",
    "cancel": "cancel",
    "resume": "taken up again",
    "outage": "503, then well",
}
PACKAGES = (
    "azure-core", "azure-mgmt-core", "requests", "httpx", "aiohttp", "playwright",
    "django-cors-headers", "schemathesis",
)  # fmt: skip
COMMANDS = {"curl": "--version", "wget": "--version", "chromium": "--version", "node": "--version"}


class Board(boards.Board):
    """A test's marker names its client, and the first word of its name the outcome."""

    command = "make clients"
    option = "--write-clients"

    def place_of(self, item: pytest.Item) -> Place | None:
        for marker in item.iter_markers("clients"):
            if "client" in marker.kwargs:
                outcome = item.name.partition("[")[0].split("_")[1]
                assert outcome in OUTCOMES, f"{item.name}: no such outcome"
                return marker.kwargs["client"], outcome
        return None

    def page(self) -> Iterator[str]:
        yield from boards.head()
        yield from boards.row("Client", *OUTCOMES.values())
        for client in sorted({client for client, _ in self.places.values()}, key=str.lower):
            yield from boards.row(client, *(self.told((client, each)) for each in OUTCOMES))
        yield ""
        yield f"Versions: {', '.join(versions())}."


def versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} absent"
    for command, option in COMMANDS.items():
        try:
            told: Any = subprocess.run(
                [command, option], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            yield f"{command} absent"
        else:
            yield " ".join(told.stdout.split()[:2]) if command != "node" else f"node {told.stdout}"
