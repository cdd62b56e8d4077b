"""Starts one web server and one worker for all clients, and registers the table of outcomes."""

import uuid
from collections.abc import Iterator

import pytest

from tests.clients.board import Board
from tests.clients.server import Server
from tests.stacks.stack import prepared


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Board(config), "clients-board")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    # SQLite follows the link. An outage is a link to a folder that does not exist.
    (folder / "kept").mkdir()
    (folder / "db.sqlite3").symlink_to("kept/db.sqlite3")
    with prepared(
        folder, database="sqlite", broker="files", settings="tests.clients.settings", lease=5
    ) as stack:
        stack.start_worker()
        yield Server(stack)


@pytest.fixture
def server(site: Server) -> Server:
    """The server, with a client name of its own for each test."""
    return site.seen_by(uuid.uuid4().hex)
