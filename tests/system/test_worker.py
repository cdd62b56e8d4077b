"""A worker notices these events at once. Its lease is five minutes, so its end plays no part."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.stacks.stack import ROOT, Stack, follow, prepared, wait_until

pytestmark = pytest.mark.system

PAIRINGS = ["sqlite+files", "postgresql+redis"]


@pytest.fixture(scope="module", params=PAIRINGS)
def patient(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("patient"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=300,
    ) as running:
        running.start_worker()
        yield running


def status(client: httpx.Client, accepted: httpx.Response) -> str:
    text: str = client.get(accepted.headers["Operation-Location"]).json()["status"]
    return text


def test_killed_process__operation_runs_again(patient: Stack) -> None:
    with patient.client() as client:
        body = {"seconds": 0, "outcome": "crash_once", "value": 7}
        accepted = client.post("/api/sleeps/", json=body)
        result = follow(client, accepted.headers["Location"], seconds=90)
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert (result.json()["value"], document["attempt"]) == (7, 2)


def test_interrupt__ends_a_job_that_never_calls_and_no_later_one(patient: Stack) -> None:
    with patient.client() as client:
        accepted = client.post("/stubborn/", json={"calls": False})
        wait_until(lambda: status(client, accepted) == "running")
        assert client.delete(accepted.headers["Location"]).status_code == 202
        wait_until(lambda: status(client, accepted) == "canceled")
        others = [client.post("/api/sleeps/", json={"seconds": 0.2}) for _ in range(8)]
        replies = [follow(client, other.headers["Location"]) for other in others]
    assert [reply.status_code for reply in replies] == [200] * 8


def test_deploy__job_runs_again_in_another_worker(patient: Stack) -> None:
    with patient.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 60, "steps": 600})
        wait_until(lambda: bool(client.get(accepted.headers["Location"]).json()["progress"]))
        old = next(process for process in patient.processes if process.name == "worker")
        patient.start_worker("--hostname", "next@%h", name="next")
        old.popen.terminate()
        assert old.popen.wait(60) == 0
        patient.processes.remove(old)
        url = accepted.headers["Operation-Location"]
        wait_until(lambda: client.get(url).json()["attempt"] == 2, seconds=60)
        assert client.delete(accepted.headers["Location"]).status_code in {200, 202}
        wait_until(lambda: status(client, accepted) == "canceled")


PRINT_PIDS = """
from async_reply.models import Worker
print(sorted(Worker.objects.values_list("pid", flat=True)))
"""


def listed_pids(stack: Stack) -> set[int]:
    """The process ids of the workers that the admin lists."""
    return set(json.loads(stack.manage("shell", "--no-imports", "-c", PRINT_PIDS)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_presence__workers_of_one_name_have_a_row_each_until_they_stop(
    patient: Stack, number: signal.Signals
) -> None:
    twins = [patient.start_worker("--hostname", "twin@%h", name=name) for name in ("one", "two")]
    pids = {twin.popen.pid for twin in twins}
    wait_until(lambda: pids <= listed_pids(patient), seconds=60)
    for twin in twins:
        twin.popen.send_signal(number)
        assert twin.popen.wait(60) == 0
        patient.processes.remove(twin)
    assert not pids & listed_pids(patient)


def test_revoke__by_remote_control_cancels(patient: Stack) -> None:
    if not patient.environment["CELERY_BROKER_URL"]:
        pytest.skip("the broker of files has no control commands")
    with patient.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 60, "steps": 600})
        wait_until(lambda: status(client, accepted) == "running")
        waiting = [client.post("/api/sleeps/", json={"seconds": 60}) for _ in range(3)]
        control(patient, "revoke", *(answer.headers["Operation-Id"] for answer in waiting))
        # A worker reads the next message when a process is idle.
        for answer in (accepted, waiting[0]):
            client.delete(answer.headers["Location"])
        for answer in (accepted, *waiting):
            wait_until(partial(is_canceled, client, answer), seconds=60)


def test_terminate__ends_one_job_and_no_later_one(patient: Stack) -> None:
    if not patient.environment["CELERY_BROKER_URL"]:
        pytest.skip("the broker of files has no control commands")
    with patient.client() as client:
        for _ in range(2):
            accepted = client.post("/api/sleeps/", json={"seconds": 60, "steps": 600})
            wait_until(partial(is_running, client, accepted))
            control(patient, "terminate", "SIGTERM", accepted.headers["Operation-Id"])
            client.delete(accepted.headers["Location"])
            wait_until(partial(is_canceled, client, accepted), seconds=60)
        body = {"seconds": 0, "outcome": "crash_once", "value": 7}
        later = [client.post("/api/sleeps/", json=body) for _ in range(4)]
        replies = [follow(client, answer.headers["Location"], seconds=90) for answer in later]
    assert [reply.json().get("value") for reply in replies] == [7] * 4


def control(stack: Stack, *arguments: str) -> None:
    """Call Celery's command line, which sends the same message as flower."""
    command = [sys.executable, "-m", "celery", "-A", "demo_project", "control", *arguments]
    subprocess.run(
        command, cwd=ROOT, env=stack.environment, capture_output=True, check=True, timeout=60
    )


def is_running(client: httpx.Client, accepted: httpx.Response) -> bool:
    return status(client, accepted) == "running"


def is_canceled(client: httpx.Client, accepted: httpx.Response) -> bool:
    return status(client, accepted) == "canceled"


#: Asks the job where it is, then tells its process to end. Prints the stack.
COMMANDS = """
from async_reply.models import Operation
from async_reply.services import process_commands
operation = Operation.objects.get(pk="{pk}")
print(process_commands.show_stack(operation).answer)
process_commands.end_process(operation)
"""


def test_end_process__runs_the_operation_again_and_cancels_a_canceling_one(patient: Stack) -> None:
    with patient.client() as client:
        accepted = client.post("/deaf/", json={"calls": False})
        pk = accepted.headers["Operation-Id"]

        def attempt() -> tuple[str, int]:
            document = client.get(accepted.headers["Operation-Location"]).json()
            return document["status"], document["attempt"]

        wait_until(lambda: attempt() == ("running", 1))
        stack = patient.manage("shell", "-c", COMMANDS.format(pk=pk))
        assert "in be_deaf\n" in stack
        wait_until(lambda: attempt() == ("running", 2))
        assert client.delete(accepted.headers["Location"]).status_code == 202
        patient.manage("shell", "-c", COMMANDS.format(pk=pk))
        wait_until(lambda: attempt() == ("canceled", 2))
