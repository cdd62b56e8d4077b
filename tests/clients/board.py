"""The table client x outcome in docs/clients.rst."""

import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import pytest

from tests import boards
from tests.boards import Place

#: The first word of a test's name -> the heading of its column.
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
COMMANDS = ("curl", "wget", "chromium", "node")


class Board(boards.Board):
    """The marker of a test names its client. The first word of its name is the outcome."""

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
            yield from boards.row(
                client, *(self.verdict((client, outcome)) for outcome in OUTCOMES)
            )
        yield ""
        yield f"Versions: {', '.join(versions())}."


def versions() -> Iterator[str]:
    """The version of each package and command, for the line below the table."""
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} absent"
    for command in COMMANDS:
        yield f"{command} {_version(command)}"


def _version(command: str) -> str:
    try:
        process = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "absent"
    version = re.search(r"\d+(\.\d+)+", process.stdout)
    return version[0] if version else "without a version"
