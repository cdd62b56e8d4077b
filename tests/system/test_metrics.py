"""A client of Prometheus reads what real workers did, from each of several web processes.

One message is lost, and one worker is killed with SIGKILL in the middle of a job.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytest.importorskip("prometheus_client", reason="needs the extra prometheus")

from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.system, pytest.mark.slow]

Samples = dict[tuple[str, str], float]
OPERATIONS, LOST = "async_reply_operations_total", "async_reply_lost_attempts_total"
ECHO, WAIT, BREAK_DOWN = "tests.project.echo", "tests.wait", "tests.break_down"
#: gunicorn runs two processes, and uvicorn is a third one.
WEB_PROCESSES = 3


class Prometheus:
    """Scrapes web servers, and keeps the samples of each scrape."""

    def __init__(self, *ports: int) -> None:
        self._urls = [f"http://127.0.0.1:{port}/metrics/" for port in ports]
        self.scrapes: list[Samples] = []

    def scrape(self) -> Samples:
        """The samples of the first server by name and values of labels."""
        _process, text = self._get(self._urls[0])
        self.scrapes.append(
            {
                (sample.name, ",".join(sample.labels.values())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )
        return self.scrapes[-1]

    def texts(self, processes: int) -> dict[str, str]:
        """The answer of each process. Waits until so many processes have answered."""
        texts: dict[str, str] = {}

        def have_answered() -> bool:
            texts.update(map(self._get, self._urls))
            return len(texts) == processes

        wait_until(have_answered)
        return texts

    def falling(self) -> Iterator[tuple[str, str]]:
        """The counters that were smaller at one scrape than at the scrape before."""
        for before, after in zip(self.scrapes, self.scrapes[1:], strict=False):
            for key, value in before.items():
                if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                    yield from [key] if after.get(key, 0) < value else []

    @staticmethod
    def _get(url: str) -> tuple[str, str]:
        # Each connection is a new one, so that either process of gunicorn may take it.
        response = httpx.get(url)
        assert response.status_code == 200, response.text
        return response.headers["X-Process"], response.text


def lose_messages(stack: Stack) -> int:
    """Delete the messages in the broker of files; returns how many."""
    messages = list((stack.folder / "messages").glob("*.msg"))
    for message in messages:
        message.unlink()
    return len(messages)


def test_metrics__across_a_kill_and_a_lost_message(tmp_path: Path) -> None:
    with (
        prepared(
            tmp_path, database="sqlite", broker="files", settings="tests.project.measured", lease=2
        ) as stack,
        stack.client() as client,
    ):
        prometheus = Prometheus(stack.port, stack.start_asgi())
        lost = client.post("/echoes/", json={"number": 7})
        assert lose_messages(stack) == 1
        samples = prometheus.scrape()
        assert samples["async_reply_waiting_operations", "celery"] == 1
        assert samples["async_reply_workers", ""] == 0
        assert (OPERATIONS, f"{ECHO},succeeded") not in samples

        first = stack.start_worker(name="first")
        broken = client.post("/breakdowns/", json={})
        assert follow(client, broken.headers["Location"]).status_code == 409
        held = client.post("/waits/", json={"calls": False})
        url = held.headers["Operation-Location"]
        wait_until(lambda: client.get(url).json()["status"] == "running")
        assert prometheus.scrape()["async_reply_running_operations", "celery"] == 1
        stack.end(first)
        second = stack.start_worker(name="second")
        assert follow(client, held.headers["Location"], seconds=90).json() == 2
        assert follow(client, lost.headers["Location"], seconds=90).json() == {"number": 7}
        logs = first.log.read_text() + second.log.read_text()
        assert re.search(f"id={lost.headers['Operation-Id']} .* published publishes=2", logs)

        def is_settled() -> bool:
            """Maintenance has counted all, and the killed worker counts as dead."""
            samples = prometheus.scrape()
            counted = sum(value for (name, _), value in samples.items() if name == OPERATIONS)
            return (counted, samples["async_reply_workers", ""]) == (3, 1)

        wait_until(is_settled, seconds=150)
        texts = prometheus.texts(WEB_PROCESSES)
        samples = prometheus.scrape()
    counted = {key: samples[OPERATIONS, key] for name, key in samples if name == OPERATIONS}
    assert {key for key, count in counted.items() if count} == {
        f"{ECHO},succeeded",
        f"{WAIT},succeeded",
        f"{BREAK_DOWN},failed",
    }
    losses = {kind: samples[LOST, kind] for kind in (ECHO, WAIT, BREAK_DOWN)}
    assert losses == {ECHO: 0, WAIT: 1, BREAK_DOWN: 0}
    runs = {kind: samples["async_reply_run_seconds_count", kind] for kind in losses}
    assert runs == dict.fromkeys(losses, 1)
    # The lost message was missed after REPUBLISH_AFTER, which is ten seconds.
    assert samples["async_reply_wait_seconds_sum", ECHO] > 10
    waits = [samples["async_reply_wait_seconds_bucket", f"{ECHO},{le}"] for le in ("4.0", "+Inf")]
    assert waits == [0, 1]
    for gauge in ("waiting_operations", "running_operations", "oldest_waiting_seconds"):
        assert samples[f"async_reply_{gauge}", "celery"] == 0, gauge
    assert list(prometheus.falling()) == []
    assert len(set(texts.values())) == 1, texts
