"""Many submits of one user at once to a real server: the quota is reached and never exceeded.

`make hostile` sends a thousand.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.hostile.conftest import FULL
from tests.hostile.wire import FAILURE
from tests.stacks.services import DATABASES
from tests.stacks.stack import Stack, prepared

QUOTA = 40
SUBMITS = 1_000 if FULL else 200
CLIENTS = 16
SLEEP = {"seconds": 0, "steps": 1}
RUN = "from async_reply.testing import run_operations; print(len(run_operations()))"


@pytest.fixture(params=DATABASES)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEMO_MAX_UNFINISHED", str(QUOTA))
        with prepared(
            tmp_path_factory.mktemp("quota"),
            database=request.param,
            broker="files",
            settings="demo_project.settings",
            lease=20,
        ) as running:
            yield running


def submit(stack: Stack, count: int) -> list[httpx.Response]:
    """The answers to `count` submits, sent by CLIENTS at once."""

    def send(number: int) -> list[httpx.Response]:
        with stack.client() as client:
            return [client.post("/api/sleeps/", json=SLEEP) for _ in range(number)]

    shares = [count // CLIENTS + (index < count % CLIENTS) for index in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        return [answer for answers in pool.map(send, shares) for answer in answers]


def assert_admitted(answers: list[httpx.Response], count: int) -> None:
    """`count` submits were accepted. The others got 429 and a Retry-After."""
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == Counter({202: count, 429: len(answers) - count})
    for answer in answers:
        assert int(answer.headers["Retry-After"]) >= 1
        if answer.status_code == 429:
            assert answer.json()["type"].endswith("/quota-exceeded")


def test_quota__is_reached_exactly_by_many_at_once(stack: Stack) -> None:
    answers = submit(stack, SUBMITS)
    assert_admitted(answers, QUOTA)
    with stack.client() as client:
        accepted = [answer for answer in answers if answer.status_code == 202]
        assert len({answer.headers["Operation-Id"] for answer in accepted}) == QUOTA
        for answer in accepted[:3]:
            assert client.post(answer.json()["links"]["cancel"]).status_code == 200
    # As many as were canceled.
    assert_admitted(submit(stack, CLIENTS * 2), 3)
    assert stack.manage("shell", "--verbosity", "0", "-c", RUN).split()[-1] == str(QUOTA)
    assert_admitted(submit(stack, CLIENTS), CLIENTS)
    log = stack.processes[0].log.read_text()
    assert FAILURE.search(log) is None, log[-3_000:]
