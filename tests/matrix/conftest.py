"""Makes the cells: each database x broker x pool. The option `--cells` chooses some of them."""

from collections.abc import Generator, Iterator

import pytest

from tests.matrix.board import Board, place_of
from tests.matrix.cell import LEASE, POOLS, Cell
from tests.stacks.services import BROKERS, DATABASES
from tests.stacks.stack import Stack, prepared

PAIRS = [(database, broker) for database in DATABASES for broker in BROKERS]
ALL = {(*pair, pool) for pair in PAIRS for pool in POOLS}
EMBEDDED = {("sqlite", "files", "prefork")}
#: Few cells with each database, each broker that is a server, and each pool.
COVERING = {
    ("sqlite", "rabbitmq", "solo"),
    ("postgresql", "redis", "gevent"),
    ("postgresql", "rabbitmq", "prefork"),
    ("mariadb", "redis", "threads"),
}
CHOICES = {"embedded": EMBEDDED, "covering": COVERING, "all": ALL}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Board(config), "matrix-board")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cells that were not chosen. The cells of a site run in one process of xdist."""
    chosen = CHOICES[config.getoption("--cells")]
    for item in items:
        if place := place_of(item):
            item.add_marker(pytest.mark.xdist_group("+".join(place[:2])))
    left_out = [item for item in items if place_of(item) not in {None, *chosen}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the worker's log with a failure."""
    report = yield
    cell = getattr(item, "funcargs", {}).get("cell")
    if report.failed and cell is not None:
        report.sections.append(("the worker's log", "\n".join(cell.log.splitlines()[-60:])))
    return report


@pytest.fixture(scope="session", params=PAIRS, ids="+".join)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param
    with prepared(
        tmp_path_factory.mktemp("cell"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=LEASE,
    ) as stack:
        yield stack


@pytest.fixture(scope="module", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "gevent":
        pytest.importorskip("gevent")
    return name


@pytest.fixture(scope="module")
def shared_cell(site: Stack, pool: str) -> Iterator[Cell]:
    cell = Cell(site, pool)
    try:
        yield cell
    finally:
        cell.close()


@pytest.fixture
def cell(shared_cell: Cell) -> Iterator[Cell]:
    """The cell with a worker that runs or is starting."""
    shared_cell.start()
    yield shared_cell
    shared_cell.clear()
