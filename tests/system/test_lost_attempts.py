"""Attempts that are taken away from workers that live, and messages that none of them knows."""

from collections.abc import Iterator

import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = pytest.mark.system

PAIRINGS = ["sqlite+files"]


@pytest.fixture(params=PAIRINGS)
def hasty(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack without a worker, where a lease is two seconds."""
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("hasty"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=2,
    ) as running:
        yield running


def test_gil__held_for_longer_than_a_lease_loses_the_attempt_and_not_the_operation(
    hasty: Stack,
) -> None:
    worker = hasty.start_worker()
    with hasty.client() as client:
        accepted = client.post("/gil/", json={"calls": False})
        result = follow(client, accepted.headers["Location"], seconds=90)
        assert result.json() == {"attempt": 2}
        # The first attempt goes on after that, and is told at its next call.
        pk = accepted.headers["Operation-Id"]
        left = f"id={pk} kind=tests.hold_gil status=not mine"
        wait_until(lambda: left in worker.log.read_text(), seconds=60)
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert (document["status"], document["attempt"]) == ("succeeded", 2)


def test_deploy__kind_that_old_workers_do_not_know_waits_for_new_ones(hasty: Stack) -> None:
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
