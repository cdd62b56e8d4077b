"""A living worker loses an attempt, or receives a message of a kind that it does not know."""

from collections.abc import Iterator

import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]

PAIRINGS = ["sqlite+files"]


@pytest.fixture(params=PAIRINGS)
def hasty(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack without a worker. A lease is two seconds."""
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("hasty"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=2,
    ) as running:
        yield running


def test_gil__held_longer_than_a_lease_costs_the_attempt_only(
    hasty: Stack,
) -> None:
    worker = hasty.start_worker()
    with hasty.client() as client:
        accepted = client.post("/gil/", json={"calls": False})
        result = follow(client, accepted.headers["Location"], seconds=90)
        assert result.json() == {"attempt": 2}
        # The first attempt goes on, and ends at its next call.
        pk = accepted.headers["Operation-Id"]
        line = f"id={pk} kind=tests.hold_gil claim lost"
        wait_until(lambda: line in worker.log.read_text(), seconds=60)
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert (document["status"], document["attempt"]) == ("succeeded", 2)


def test_deploy__new_kind_waits_for_a_new_worker(hasty: Stack) -> None:
    settings = hasty.environment.pop("DJANGO_SETTINGS_MODULE")
    hasty.environment["DJANGO_SETTINGS_MODULE"] = "demo_project.settings"
    old = hasty.start_worker(name="old")
    hasty.environment["DJANGO_SETTINGS_MODULE"] = settings
    with hasty.client() as client:
        accepted = client.post("/echoes/", json={"number": 7})
        words = "this worker does not know the kind"
        wait_until(lambda: words in old.log.read_text(), seconds=60)
        assert client.get(accepted.headers["Location"]).json()["status"] == "pending"
        hasty.start_worker("--hostname", "new@%h", name="new")
        old.popen.terminate()
        hasty.processes.remove(old)
        result = follow(client, accepted.headers["Location"], seconds=90)
        old.kill()
    assert result.json() == {"number": 7}
