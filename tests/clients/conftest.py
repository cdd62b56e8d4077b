"""One web server and one worker for all clients, and the table of what each of them saw."""

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
    # SQLite opens what the link leads to, so an outage is a link that leads nowhere.
    (folder / "kept").mkdir()
    (folder / "db.sqlite3").symlink_to("kept/db.sqlite3")
    with prepared(
        folder, database="sqlite", broker="files", settings="tests.clients.settings", lease=5
    ) as stack:
        stack.start_worker()
        yield Server(stack)


@pytest.fixture
def server(site: Server) -> Server:
    """The server as one test's client sees it."""
    return site.seen_by(uuid.uuid4().hex)
