"""Libraries that know HTTP, but not the pattern: requests, httpx, aiohttp."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.clients.server import Server, need, sleep

requests = need("requests")
retrying = need("urllib3.util")
aiohttp = need("aiohttp")

Answer = tuple[int, Any]
DONE = (200, {"slept": 1.0, "value": "ü"})


class WithRequests:
    """requests. It follows redirects by default."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.headers.update(server.headers)
        retries = retrying.Retry(total=10, status_forcelist=[503])
        self.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))

    def submit(self, body: Any) -> dict[str, str]:
        answer = self.session.post(f"{self.server.url}/api/sleeps/", json=body)
        assert answer.status_code == 202
        return dict(answer.json()["links"])

    def poll(self, url: str) -> Answer:
        """Poll until an answer has no Retry-After; return its status and body."""
        while "Retry-After" in (answer := self.session.get(url)).headers:
            time.sleep(int(answer.headers["Retry-After"]))
        return answer.status_code, answer.json()

    def delete(self, url: str) -> int:
        return int(self.session.delete(url).status_code)

    def close(self) -> None:
        self.session.close()


class WithHttpx:
    """httpx. It follows redirects if the caller asks for it."""

    def __init__(self, server: Server, *, follow: bool = False) -> None:
        self.client = httpx.Client(
            base_url=server.url, headers=server.headers, follow_redirects=follow, timeout=60
        )

    def submit(self, body: Any) -> dict[str, str]:
        answer = self.client.post("/api/sleeps/", json=body)
        assert answer.status_code == 202
        return dict(answer.json()["links"])

    def poll(self, url: str) -> Answer:
        while "Retry-After" in (answer := self.client.get(url)).headers:
            time.sleep(int(answer.headers["Retry-After"]))
        if answer.next_request is not None:
            answer = self.client.send(answer.next_request)
        return answer.status_code, answer.json()

    def delete(self, url: str) -> int:
        return self.client.delete(url).status_code

    def close(self) -> None:
        self.client.close()


class WithAiohttp:
    """aiohttp. Each call has an event loop and a session of its own."""

    def __init__(self, server: Server, *, follow: bool = True) -> None:
        self.server = server
        self.follow = follow

    def submit(self, body: Any) -> dict[str, str]:
        status, document = asyncio.run(
            self._ask("POST", f"{self.server.url}/api/sleeps/", json=body)
        )
        assert status == 202
        return dict(document["links"])

    def poll(self, url: str) -> Answer:
        return asyncio.run(self._poll(url))

    async def _poll(self, url: str) -> Answer:
        async with aiohttp.ClientSession(headers=self.server.headers) as session:
            while True:
                async with session.get(url, allow_redirects=self.follow) as answer:
                    if "Retry-After" in answer.headers:
                        await asyncio.sleep(int(answer.headers["Retry-After"]))
                        continue
                    if answer.status != 302:
                        return answer.status, await answer.json(content_type=None)
                    return await self._ask("GET", answer.headers["Location"])

    async def _ask(self, method: str, url: str, **options: Any) -> Answer:
        async with (
            aiohttp.ClientSession(headers=self.server.headers) as session,
            session.request(method, url, **options) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    def delete(self, url: str) -> int:
        return asyncio.run(self._ask("DELETE", url))[0]

    def close(self) -> None:
        """Each call has closed its session already."""


LIBRARIES = {
    "requests": WithRequests,
    "httpx": WithHttpx,
    "httpx, following redirects": lambda server: WithHttpx(server, follow=True),
    "aiohttp": WithAiohttp,
    "aiohttp, not following redirects": lambda server: WithAiohttp(server, follow=False),
}
Client = WithRequests | WithHttpx | WithAiohttp
each_library = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=pytest.mark.clients(client=name))
        for name, make in LIBRARIES.items()
    ],
)


@pytest.fixture
def client(make: Any, server: Server) -> Iterator[Client]:
    client: Client = make(server)
    yield client
    client.close()


@each_library
def test_success(server: Server, client: Client) -> None:
    assert client.poll(client.submit(sleep(1, value="ü"))["self"]) == DONE
    assert len(server.asked(status=302)) == 1


@each_library
def test_success__by_polls_of_the_result_url(server: Server, client: Client) -> None:
    """This client knows only that 202 means pending."""
    url = client.submit(sleep(1, value="ü"))["result"]
    assert client.poll(url) == DONE
    assert server.asked(status=302) == []


@each_library
def test_failure__is_a_4xx_with_the_reason(server: Server, client: Client) -> None:
    status, problem = client.poll(client.submit(sleep(outcome="fail"))["self"])
    assert (status, problem["detail"]) == (409, "The sleep was asked to fail.")


@each_library
def test_cancel__by_delete(server: Server, client: Client) -> None:
    links = client.submit(sleep(600, steps=6000))
    with server.http() as http:
        server.wait_for(lambda: http.get(links["monitor"]).json()["status"] == "running")
    assert client.delete(links["self"]) == 202
    status, problem = client.poll(links["self"])
    assert (status, problem["type"]) == (409, "urn:problem-type:async-reply/operation-canceled")


@each_library
def test_resume__by_another_client_that_has_the_url(server: Server, client: Client) -> None:
    with server.http() as http:
        accepted = http.post("/api/sleeps/", json=sleep(1, value="ü"))
    assert client.poll(accepted.headers["Location"]) == DONE


@pytest.mark.parametrize("make", [WithRequests])
@pytest.mark.clients(client="requests")
def test_outage__is_waited_out_by_urllib3(server: Server, client: Client) -> None:
    """urllib3's Retry obeys Retry-After, and repeats methods that are safe to repeat."""
    url = client.submit(sleep(value="ü"))["self"]
    with ThreadPoolExecutor(1) as pool:
        with server.outage():
            polled = pool.submit(client.poll, url)
            server.wait_for(lambda: server.asked(status=503))
        assert polled.result(timeout=120) == (200, {"slept": 0.0, "value": "ü"})
