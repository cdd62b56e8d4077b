"""The demo with real servers: one stack for each pairing of database and broker."""

from collections.abc import Generator, Iterator

import pytest

from tests.stacks.stack import Stack, prepared

PAIRINGS = ["sqlite+files", "postgresql+redis"]
SERVERS = ["postgresql", "mariadb", "redis", "rabbitmq"]


@pytest.fixture(scope="module", params=PAIRINGS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("demo"),
        database=database,
        broker=broker,
        settings="demo_project.settings",
        lease=2,
    ) as running:
        running.start_worker()
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the processes with a failure."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        for process in stack.processes:
            report.sections.append((f"Log of the {process.name}", process.tail(60)))
    return report


@pytest.hookimpl(tryfirst=True)  # before -m selects by mark
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that need database or broker servers, and leave out those with big files."""
    for item in items:
        if item.get_closest_marker("system") and any(name in item.name for name in SERVERS):
            item.add_marker(pytest.mark.services)
    if "big" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("big")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
