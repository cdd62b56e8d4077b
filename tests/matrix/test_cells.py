"""The same conversations in each cell: real worker, real broker, real database, real HTTP."""

import time

import pytest

from async_reply.checks import pools
from tests.matrix.cell import LEASE, Cell
from tests.stacks.stack import follow, wait_until

pytestmark = pytest.mark.matrix

#: Generous: machines that run this are busy.
SOON = 30


def test_conversation(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=2.5, value={"ä": [1, None]})
    seen = set()
    give_up = time.monotonic() + SOON
    while (poll := cell.client.get(url)).status_code == 200:
        assert time.monotonic() < give_up, poll.text
        seen.add(poll.json()["progress"])
        time.sleep(0.1)
    assert poll.status_code == 302
    assert seen & set(range(10, 100))
    result = cell.client.get(poll.headers["Location"])
    assert (result.status_code, result.json()) == (200, {"slept": 2.5, "value": {"ä": [1, None]}})


def test_failure__is_readable(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=0, outcome="fail")
    result = follow(cell.client, url, seconds=SOON)
    assert (result.status_code, result.json()["detail"]) == (409, "The sleep was asked to fail.")


def test_cancel__of_a_running_job(cell: Cell) -> None:
    url = run_for_ever(cell)
    assert cell.client.delete(url).status_code == 202
    result = follow(cell.client, url, seconds=10)
    assert result.json()["type"].endswith("operation-canceled")


def test_time_limit__of_a_job_that_calls_in(cell: Cell) -> None:
    url = cell.submit("/overruns/", calls=True)
    result = follow(cell.client, url, seconds=SOON)
    assert (result.status_code, result.json()["code"]) == (409, "timed-out")
    assert cell.document(url)["attempt"] == 1


def test_time_limit__of_a_job_that_never_calls_in(cell: Cell) -> None:
    """The operation fails in time on each pool, even where the job goes on."""
    url = cell.submit("/overruns/", calls=False)
    result = follow(cell.client, url, seconds=SOON)
    assert (result.status_code, result.json()["code"]) == (409, "timed-out")
    assert cell.document(url)["attempt"] == 1
    if cell.pool in {"threads", "solo"}:
        cell.kill()


def test_worker__says_at_its_start_what_its_pool_cannot_do(cell: Cell) -> None:
    wait_until(lambda: " ready." in cell.log, seconds=SOON)
    told = [each.text for each in pools.shortcomings(cell.pool, driver=cell.driver)]
    assert bool(told) == (cell.pool != "prefork")
    wait_until(lambda: all(text in cell.log for text in told))


def test_maintenance__publishes_and_reports(cell: Cell) -> None:
    """What a submit could not publish, the worker does; and it writes down that it lives."""
    wait_until(lambda: " ready." in cell.log, seconds=SOON)
    seen = cell.submit_without_broker()
    assert seen["broker_is_down"]
    assert seen["ages"][cell.hostname] < 15 + LEASE
    url = f"/api/operations/{seen['operation']}/"
    assert follow(cell.client, url, seconds=SOON).json() == {"slept": 0.0, "value": "relayed"}


def test_kill__of_the_worker_is_rescued(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=2, value=1)
    wait_until(lambda: cell.document(url)["status"] == "running", seconds=SOON)
    cell.kill()
    cell.start()
    assert follow(cell.client, url, seconds=2 * SOON).json() == {"slept": 2.0, "value": 1}
    assert cell.document(url)["attempt"] == 2


def test_sigterm__ends_the_worker_and_releases_its_job(cell: Cell) -> None:
    url = run_for_ever(cell)
    assert cell.terminate(within=15) < 15
    assert released(cell, url)


def test_sigterm__reaches_the_children_as_well(cell: Cell) -> None:
    """What systemd does by default, and a terminal that is closed.

    A child that ends between two messages leaves billiard waiting for 31 seconds, now and then.
    """
    if cell.pool != "prefork":
        pytest.skip(f"{cell.pool} has no child processes")
    url = run_for_ever(cell)
    assert cell.terminate(within=40, group=True) < 40
    assert released(cell, url)


def released(cell: Cell, url: str) -> bool:
    """Whether the job waits for another worker; it is canceled then."""
    document = cell.document(url)
    assert (document["status"], document["attempt"]) == ("pending", 1), document
    return cell.client.delete(url).status_code == 200


def run_for_ever(cell: Cell) -> str:
    """The status URL of a job that runs until it is stopped, and calls in ten times a second."""
    url = cell.submit("/api/sleeps/", seconds=600, steps=6000)
    wait_until(lambda: cell.document(url)["status"] == "running", seconds=SOON)
    return url
