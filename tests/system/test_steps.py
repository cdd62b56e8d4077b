"""Workers die and stop in the middle of jobs of steps. The jobs go on behind what is stored."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.project.stepped import BOUNDARIES
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = pytest.mark.system

PAIRINGS = ["sqlite+files", "postgresql+redis", "mariadb+redis"]
#: How often the function of the step runs at which the process died.
RUNS = {
    "before the function": 1,
    "after the function": 2,
    "before the commit": 2,
    "after the commit": 1,
}


@pytest.fixture(scope="module", params=PAIRINGS)
def stepped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("stepped"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=2,
    ) as running:
        running.start_worker()
        yield running


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_step__process_dies_at_a_boundary(
    boundary: str, atomic: bool, stepped: Stack, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with stepped.client() as client:
        accepted = client.post(
            "/deadly-steps/",
            json={"boundary": boundary, "journal": str(journal), "atomic": atomic},
        )
        result = follow(client, accepted.headers["Location"], seconds=90)
        document = client.get(accepted.headers["Operation-Location"]).json()
    values, rows = result.json()
    assert (values, document["attempt"]) == ([0, 1, 2], 2)
    runs = Counter(journal.read_text().split())
    # On PostgreSQL the function `store_step` is the commit: one statement, in no transaction.
    is_early = boundary == "before the commit" and stepped.database == "postgresql" and not atomic
    expected = 1 if is_early else RUNS[boundary]
    assert runs == {"0": 1, "1": expected, "2": 1}
    # The writes of an atomic step happen once, however often its function runs.
    assert rows == (3 if atomic else runs.total())


def has_lines(journal: Path, count: int) -> bool:
    return len(journal.read_text().split()) >= count


@pytest.mark.parametrize("stepped", ["postgresql+redis"], indirect=True)
def test_steps__job_ends_although_its_worker_is_stopped_again_and_again(
    stepped: Stack, tmp_path: Path
) -> None:
    """The job takes three seconds, its time limit is two, and no worker lives that long."""
    journal = tmp_path / "journal"
    journal.touch()
    with stepped.client() as client:
        accepted = client.post("/long-steps/", json={"steps": 12, "journal": str(journal)})
        for lines in (3, 6, 9):
            wait_until(partial(has_lines, journal, lines))
            worker = stepped.processes[-1]
            worker.stop()
            stepped.processes.remove(worker)
            stepped.start_worker()
        result = follow(client, accepted.headers["Location"], seconds=90)
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert result.json() == sum(range(12))
    assert document["attempt"] >= 4
    assert journal.read_text().split() == [str(number) for number in range(12)]
