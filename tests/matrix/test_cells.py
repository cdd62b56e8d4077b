"""The same conversations in each cell, with real HTTP and a real worker, broker and database."""

import time

import pytest

from async_reply.checks import pools
from tests.matrix.cell import LEASE, Cell
from tests.project.talking import PARTS
from tests.stacks.stack import follow, wait_until

pytestmark = pytest.mark.matrix

#: The limit of waits. It is long, since machines that run this are busy.
WAIT_SECONDS = 30


def test_conversation(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=2.5, value={"ä": [1, None]})
    progress = set()
    give_up = time.monotonic() + WAIT_SECONDS
    while (poll := cell.client.get(url)).status_code == 200:
        assert time.monotonic() < give_up, poll.text
        progress.add(poll.json()["progress"])
        time.sleep(0.1)
    assert poll.status_code == 302
    assert progress & set(range(10, 100))
    result = cell.client.get(poll.headers["Location"])
    assert (result.status_code, result.json()) == (200, {"slept": 2.5, "value": {"ä": [1, None]}})


def test_failure__is_readable(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=0, outcome="fail")
    result = follow(cell.client, url, seconds=WAIT_SECONDS)
    assert (result.status_code, result.json()["detail"]) == (409, "The sleep was asked to fail.")


def test_log__is_read_while_the_job_runs(cell: Cell) -> None:
    url = cell.submit("/talks/", dies=False)

    def parts() -> list[int]:
        events = cell.client.get(f"{url}log/").json()["events"]
        return [event["data"]["number"] for event in events if event["event"] == "part"]

    wait_until(lambda: bool(parts()), seconds=WAIT_SECONDS)
    assert cell.client.get(url).status_code == 200
    assert follow(cell.client, url, seconds=WAIT_SECONDS).status_code == 200
    assert parts() == list(range(PARTS))


def test_cancel__of_a_running_job(cell: Cell) -> None:
    url = run_for_ever(cell)
    assert cell.client.delete(url).status_code == 202
    result = follow(cell.client, url, seconds=10)
    assert result.json()["type"].endswith("operation-canceled")


def test_time_limit__of_a_job_that_calls_its_operation(cell: Cell) -> None:
    url = cell.submit("/overruns/", calls=True)
    result = follow(cell.client, url, seconds=WAIT_SECONDS)
    assert (result.status_code, result.json()["code"]) == (409, "timed-out")
    assert cell.document(url)["attempt"] == 1


def test_time_limit__of_a_job_that_never_calls_its_operation(cell: Cell) -> None:
    """The operation fails in time on each pool, even if the job goes on."""
    url = cell.submit("/overruns/", calls=False)
    result = follow(cell.client, url, seconds=WAIT_SECONDS)
    assert (result.status_code, result.json()["code"]) == (409, "timed-out")
    assert cell.document(url)["attempt"] == 1
    if cell.pool in {"threads", "solo"}:
        cell.kill()


def test_worker__logs_the_shortcomings_of_its_pool(cell: Cell) -> None:
    wait_until(lambda: " ready." in cell.log, seconds=WAIT_SECONDS)
    texts = [shortcoming.text for shortcoming in pools.shortcomings(cell.pool, driver=cell.driver)]
    assert bool(texts) == (cell.pool != "prefork")
    wait_until(lambda: all(text in cell.log for text in texts))


def test_maintenance__publishes_and_reports(cell: Cell) -> None:
    """The worker publishes after a submit that could not, and writes that it lives."""
    wait_until(lambda: " ready." in cell.log, seconds=WAIT_SECONDS)
    figures = cell.submit_without_broker()
    assert figures["broker_is_down"]
    assert figures["ages"][cell.hostname] < 15 + LEASE
    url = f"/api/operations/{figures['operation']}/"
    assert follow(cell.client, url, seconds=WAIT_SECONDS).json() == {
        "slept": 0.0,
        "value": "relayed",
    }


def test_kill__job_of_the_worker_is_rescued(cell: Cell) -> None:
    url = cell.submit("/api/sleeps/", seconds=2, value=1)
    wait_until(lambda: cell.document(url)["status"] == "running", seconds=WAIT_SECONDS)
    cell.kill()
    cell.start()
    assert follow(cell.client, url, seconds=2 * WAIT_SECONDS).json() == {"slept": 2.0, "value": 1}
    assert cell.document(url)["attempt"] == 2


def test_sigterm__ends_the_worker_and_releases_its_job(cell: Cell) -> None:
    url = run_for_ever(cell)
    assert cell.terminate(within=15) < 15
    assert released(cell, url)


def test_sigterm__to_the_children_too(cell: Cell) -> None:
    """systemd does this by default, and so does a terminal that is closed.

    If a child ends between two messages, billiard sometimes waits for 31 seconds.
    """
    if cell.pool != "prefork":
        pytest.skip(f"{cell.pool} has no child processes")
    url = run_for_ever(cell)
    assert cell.terminate(within=40, group=True) < 40
    assert released(cell, url)


def released(cell: Cell, url: str) -> bool:
    """Whether the job waits for another worker. Cancels it afterwards."""
    document = cell.document(url)
    assert (document["status"], document["attempt"]) == ("pending", 1), document
    return cell.client.delete(url).status_code == 200


def run_for_ever(cell: Cell) -> str:
    """Submit a job that runs until it is stopped and calls its operation ten times a second."""
    url = cell.submit("/api/sleeps/", seconds=600, steps=6000)
    wait_until(lambda: cell.document(url)["status"] == "running", seconds=WAIT_SECONDS)
    return url
