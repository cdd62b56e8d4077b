"""The demo's own tests: how a project tests its views and jobs with `async_reply.testing`."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from async_reply.exceptions import OperationCanceled, OperationFailed
from async_reply.testing import (
    Ending,
    FakeJob,
    Operations,
    Shown,
    WorkerLost,
    cancel_at,
    lose_at,
    stop_at,
    time_out_at,
)
from demo_project import tasks
from demo_project.models import Dataset

SLEEP = {"seconds": 0, "steps": 4, "value": 7}


def csv(text: str = "city,people\nOslo,709000\nBergen,291000\n") -> SimpleUploadedFile:
    return SimpleUploadedFile("cities.csv", text.encode(), "text/csv")


@pytest.fixture
def client(db: None) -> APIClient:
    """A client that is logged in as ada."""
    client = APIClient()
    client.force_authenticate(User.objects.create_user("ada"))
    return client


def test_profile__is_the_result(operations: Operations, client: APIClient) -> None:
    response = client.post("/api/csv-profiles/", {"file": csv()}, format="multipart")
    result = operations.result_of(response, client)
    assert (result.status_code, result.json()["rows"]) == (200, 2)


def test_profile__of_a_broken_file_is_a_problem(operations: Operations, client: APIClient) -> None:
    response = client.post("/api/csv-profiles/", {"file": csv("a,b\n1\n")}, format="multipart")
    problem = operations.result_of(response, client)
    assert (problem.status_code, problem.json()["code"]) == (422, "csv-invalid")


def test_export__is_a_file(operations: Operations, client: APIClient) -> None:
    response = client.post("/api/exports/", {"rows": 2})
    result = operations.result_of(response, client)
    assert result["Content-Type"] == "text/csv"
    assert b"".join(result.streaming_content).count(b"\n") == 3


def test_import__leads_to_the_dataset(operations: Operations, client: APIClient) -> None:
    data = {"file": csv(), "name": "Cities"}
    response = client.post("/api/datasets/", data, format="multipart")
    assert operations.accepted(response).status == "pending"
    dataset = operations.result_of(response, client).json()
    assert (dataset["name"], dataset["rows"]) == ("Cities", 2)


def test_import__that_is_canceled_leaves_no_dataset(
    operations: Operations, client: APIClient
) -> None:
    client.post("/api/datasets/", {"file": csv()}, format="multipart")
    (report,) = operations.run(interruption=cancel_at(1))
    assert report.ending is Ending.CANCELED
    assert not Dataset.objects.exists()


def test_sleep__runs_again_when_its_worker_was_lost(
    operations: Operations, client: APIClient
) -> None:
    response = client.post("/api/sleeps/", SLEEP)
    (report,) = operations.run(interruption=lose_at(3))
    assert (report.ending, type(report.error)) == (Ending.LOST, WorkerLost)
    # The client sees the progress of the lost attempt until its lease is over.
    status = client.get(response["Location"]).json()
    assert (status["status"], status["attempt"]) == ("running", 1)
    (report,) = operations.run(advance=True)
    assert report.ending is Ending.SUCCEEDED
    assert operations.result_of(response, client).json() == {"slept": 0, "value": 7}


def test_sleep__runs_again_when_its_worker_stops(operations: Operations, client: APIClient) -> None:
    client.post("/api/sleeps/", SLEEP)
    reports = operations.run(interruption=stop_at(2))
    assert [report.ending for report in reports] == [Ending.AGAIN, Ending.SUCCEEDED]


def test_sleep__fails_after_its_time_limit(operations: Operations, client: APIClient) -> None:
    response = client.post("/api/sleeps/", SLEEP)
    (report,) = operations.run(interruption=time_out_at(2))
    assert report.ending is Ending.FAILED
    assert operations.result_of(response, client).json()["code"] == "timed-out"


def test_sleep__shows_each_step() -> None:
    job = FakeJob()
    assert tasks.sleep(job, seconds=0, steps=2, outcome="succeed", value=7) == {
        "slept": 0,
        "value": 7,
    }
    assert job.shown == [
        Shown(0, "Step"),
        Shown(50, "Step 1 of 2"),
        Shown(100, "Step 2 of 2"),
    ]


def test_sleep__may_fail() -> None:
    with pytest.raises(OperationFailed, match="asked to fail"):
        tasks.sleep(FakeJob(), seconds=0, steps=1, outcome="fail", value=None)


def test_export__makes_one_file() -> None:
    job = FakeJob()
    tasks.export(job, rows=1)
    (file,) = job.files
    assert (file.name, file.content_type) == ("1-rows.csv", "text/csv")
    assert file.content.splitlines()[1:] == [b"0,2000-01-01,0.00,"]


def test_import__discards_its_rows_when_it_is_canceled(db: None) -> None:
    job: Any = FakeJob(owner="7", interruption=cancel_at(1))
    with csv().open() as file, pytest.raises(OperationCanceled):
        tasks.import_dataset(job, file=file, name="Cities")
    assert not Dataset.objects.exists()
