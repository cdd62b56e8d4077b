"""`accepted` and `result_of` follow a 202 to its result or its problem."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import AsyncClient
from django.urls import set_script_prefix
from django.utils import timezone
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient, RequestsClient

from async_reply.models import Operation
from async_reply.testing import Operations, accepted


def test_accepted__is_the_operation(operations: Operations, api: APIClient) -> None:
    response = api.post("/echoes/", {"number": 7})
    assert operations.accepted(response) == Operation.objects.get()


def test_accepted__shows_another_answer(db: None, api: APIClient) -> None:
    with pytest.raises(AssertionError, match=r"the answer is 400: .*valid integer"):
        accepted(api.post("/echoes/", {"number": "seven"}))


def test_accepted__names_a_header_that_is_missing(db: None, api: APIClient) -> None:
    response = api.post("/echoes/", {"number": 7})
    del response["Retry-After"]
    with pytest.raises(AssertionError, match="no Retry-After"):
        accepted(response)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/echoes/", 200),
        ("/dressed/", 201),
        ("/refusals/", 422),
        ("/breakdowns/", 409),
        ("/exports/", 200),
        ("/creations/", 200),
    ],
)
def test_result_of__is_the_answer_with_the_result_or_the_problem(
    operations: Operations, api: APIClient, path: str, status: int
) -> None:
    response = api.post(path, {"number": 7}, headers={"Idempotency-Key": "1"})
    result = operations.result_of(response, api)
    assert result.status_code == status
    # A second look at a finished operation is the same.
    assert operations.result_of(response, api).status_code == status


def test_result_of__does_not_follow_to_another_host(
    operations: Operations, api: APIClient, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["files.example.org"]}
    result = operations.result_of(api.post("/forwards/"), api)
    assert result["Location"] == "https://files.example.org/report.pdf"


def test_result_of__speaks_to_the_host_of_the_request(
    operations: Operations, api: APIClient
) -> None:
    response = api.post("/echoes/", {"number": 7}, secure=True, headers={"Host": "localhost"})
    assert response["Location"].startswith("https://localhost/")
    assert operations.result_of(response, api).json() == {"number": 7}


def test_result_of__does_not_wait_for_a_delay(operations: Operations, api: APIClient) -> None:
    response = api.post("/echoes/", {"number": 7})
    Operation.objects.update(available_at=timezone.now() + timedelta(days=1))
    with pytest.raises(AssertionError, match="pending still"):
        operations.result_of(response, api)
    operations.run(advance=True)
    assert operations.result_of(response, api).json() == {"number": 7}


def test_accepted__takes_the_answer_of_requests(operations: Operations, user: Any) -> None:
    client = RequestsClient()
    client.headers["Authorization"] = f"Token {Token.objects.create(user=user).key}"
    response = client.post("http://testserver/echoes/", json={"number": 7})
    assert operations.accepted(response) == Operation.objects.get()
    with pytest.raises(AssertionError, match="the answer is 400"):
        operations.accepted(client.post("http://testserver/echoes/", json={"number": "x"}))


@pytest.mark.parametrize("client", [RequestsClient, AsyncClient])
def test_result_of__names_the_remedy_for_other_clients(
    client: type[Any], operations: Operations, api: APIClient
) -> None:
    response = api.post("/echoes/", {"number": 7})
    with pytest.raises(TypeError, match=r"run_operations\(\) and get the Location"):
        operations.result_of(response, client())


def test_result_of__takes_a_client_like_that_of_django(
    operations: Operations, api: APIClient
) -> None:
    class Wrapper:
        def get(self, *args: Any, **kwargs: Any) -> Any:
            return api.get(*args, **kwargs)

    response = api.post("/echoes/", {"number": 7})
    assert operations.result_of(response, Wrapper()).json() == {"number": 7}


@pytest.mark.parametrize("prefix", ["/pre", "/pre/"])
@pytest.mark.parametrize("path", ["/echoes/", "/creations/"])
def test_result_of__below_a_script_name(
    path: str,
    prefix: str,
    operations: Operations,
    api: APIClient,
    settings: Settings,
    request: pytest.FixtureRequest,
) -> None:
    settings.FORCE_SCRIPT_NAME = prefix
    # As django.setup() does.
    request.addfinalizer(lambda: set_script_prefix("/"))
    set_script_prefix(prefix)
    response = api.post(path, {"number": 7})
    assert urlsplit(response["Location"]).path.startswith("/pre/api/operations/")
    assert operations.result_of(response, api).status_code == 200
