"""azure-core and azure-mgmt-core, called in the way of the clients that Microsoft generates."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients.server import Server, need, sleep

need("aiohttp")
core = need("azure.core")
policies = need("azure.core.pipeline.policies")
polling = need("azure.core.polling")
base_polling = need("azure.core.polling.base_polling")
async_polling = need("azure.core.polling.async_base_polling")
arm_polling = need("azure.mgmt.core.polling.arm_polling")
rest = need("azure.core.rest")
exceptions = need("azure.core.exceptions")

pytestmark = pytest.mark.clients


class Family:
    """A polling method of Azure, with the path of a view that speaks its dialect."""

    def __init__(self, path: str, method: Any, *, is_async: bool = False) -> None:
        self.path = path
        self.method = method
        self.is_async = is_async


def family(name: str, *arguments: Any, **options: Any) -> Any:
    value = Family(*arguments, **options)
    return pytest.param(value, id=name, marks=pytest.mark.clients(client=name))


FAMILIES = [
    family("azure-core", "/api/sleeps/", base_polling.LROBasePolling),
    family("azure-core, asyncio", "/api/sleeps/", async_polling.AsyncLROBasePolling, is_async=True),
    family(
        "azure-mgmt-core, Azure-AsyncOperation", "/azure-async-operation/", arm_polling.ARMPolling
    ),
    family("azure-mgmt-core, Location", "/location/", arm_polling.ARMPolling),
]
each_family = pytest.mark.parametrize("family", FAMILIES)


def read(pipeline_response: Any) -> Any:
    """The callback by which a generated client reads the last response."""
    return pipeline_response.http_response.json()


class Caller:
    """Runs the same steps with the synchronous or the asynchronous client."""

    def __init__(self, server: Server, family: Family) -> None:
        self.server = server
        self.family = family

    def run(self, body: Any, *, meanwhile: Callable[[Any], None] = lambda poller: None) -> Any:
        """Submit, call `meanwhile` with the poller, wait, and return the result."""
        if self.family.is_async:
            return asyncio.run(self._run_async(body, meanwhile))
        with core.PipelineClient(self.server.url, policies=self._policies()) as client:
            first = client._pipeline.run(self._request(body))
            poller = polling.LROPoller(client, first, read, self.family.method(timeout=1))
            meanwhile(poller)
            return self._poller_for_result(poller, client).result()

    def _poller_for_result(self, poller: Any, client: Any) -> Any:
        return poller

    async def _run_async(self, body: Any, meanwhile: Callable[[Any], None]) -> Any:
        pipeline_client = core.AsyncPipelineClient(self.server.url, policies=self._policies())
        async with pipeline_client as client:
            first = await client._pipeline.run(self._request(body))
            poller = polling.AsyncLROPoller(client, first, read, self.family.method(timeout=1))
            await asyncio.to_thread(meanwhile, poller)
            result: Awaitable[Any] = self._poller_for_result(poller, client).result()
            return await result

    def _request(self, body: Any) -> Any:
        return rest.HttpRequest("POST", f"{self.server.url}{self.family.path}", json=body)

    def _policies(self) -> list[Any]:
        retry = policies.AsyncRetryPolicy if self.family.is_async else policies.RetryPolicy
        redirect = policies.AsyncRedirectPolicy if self.family.is_async else policies.RedirectPolicy
        return [
            policies.RequestIdPolicy(),
            policies.HeadersPolicy(self.server.headers),
            redirect(),
            retry(),
        ]


class ResumingCaller(Caller):
    """Drops its poller and makes a new one from the continuation token."""

    def _poller_for_result(self, poller: Any, client: Any) -> Any:
        return type(poller).from_continuation_token(
            polling_method=self.family.method(timeout=1),
            continuation_token=poller.continuation_token(),
            client=client,
            deserialization_callback=read,
        )


@each_family
def test_success(server: Server, family: Family) -> None:
    result = Caller(server, family).run(sleep(1.5, value={"ä": 1}))
    assert result == {"slept": 1.5, "value": {"ä": 1}}
    assert server.asked(status=302) == []


@each_family
def test_failure__raises_an_error_with_the_reason(server: Server, family: Family) -> None:
    with pytest.raises(exceptions.HttpResponseError) as raised:
        Caller(server, family).run(sleep(outcome="fail"))
    assert "The sleep was asked to fail." in str(raised.value)
    # No client retries a failed job. A retry would show as further requests.
    assert len(server.asked(status=409)) <= 1


@each_family
def test_cancel__ends_the_polling(server: Server, family: Family) -> None:
    def cancel(poller: Any) -> None:
        links = poller.polling_method()._initial_response.http_response.json()["links"]
        with server.http() as http:
            server.wait_for(lambda: http.get(links["monitor"]).json()["status"] == "running")
            assert http.post(links["cancel"]).status_code == 202

    with pytest.raises(exceptions.HttpResponseError, match="cancel"):
        Caller(server, family).run(sleep(600, steps=6000), meanwhile=cancel)


@each_family
def test_resume__from_a_continuation_token(server: Server, family: Family) -> None:
    result = ResumingCaller(server, family).run(sleep(1.5, value=7))
    assert result == {"slept": 1.5, "value": 7}
    assert len([entry for entry in server.asked() if entry["method"] == "POST"]) == 1


@each_family
def test_outage__submits_again_until_the_database_is_back(server: Server, family: Family) -> None:
    with ThreadPoolExecutor(1) as pool:
        with server.outage():
            submitted = pool.submit(Caller(server, family).run, sleep(value=7))
            server.wait_for(lambda: server.asked(status=503))
        assert submitted.result(timeout=120) == {"slept": 0.0, "value": 7}
    assert len(server.asked(status=202)) >= 1
