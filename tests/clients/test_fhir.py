"""A client of FHIR's bulk export, by its specification (Bulk Data Access IG 2.0.0).

The client knows the kick-off and Content-Location. After a 202 it polls again.
"""

import time
from typing import Any

import httpx
import pytest

from tests.clients.server import Server

pytestmark = pytest.mark.clients(client="FHIR bulk export")


class BulkClient:
    def __init__(self, server: Server) -> None:
        accept = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
        self.http = httpx.Client(
            base_url=server.url, headers={**server.headers, **accept}, timeout=60
        )

    def kick_off(self, path: str) -> str:
        """Start the export; return the URL of its status."""
        answer = self.http.get(path)
        assert answer.status_code == 202, answer.text
        return answer.headers["Content-Location"]

    def wait(self, url: str) -> httpx.Response:
        headers = {"Accept": "application/json"}
        while (answer := self.http.get(url, headers=headers)).status_code == 202:
            time.sleep(int(answer.headers["Retry-After"]))
        return answer

    def download(self, manifest: dict[str, Any]) -> list[str]:
        assert manifest["requiresAccessToken"] is True
        headers = {"Accept": "application/fhir+ndjson"}
        return [self.http.get(file["url"], headers=headers).text for file in manifest["output"]]


@pytest.fixture
def client(server: Server) -> Any:
    client = BulkClient(server)
    yield client
    client.http.close()


def test_success(client: BulkClient) -> None:
    complete = client.wait(client.kick_off("/fhir/$export?_type=Patient,Condition"))
    assert complete.status_code == 200
    assert complete.headers["Content-Type"] == "application/json"
    assert complete.headers["Expires"].endswith("GMT")
    manifest = complete.json()
    assert manifest["request"].endswith("/fhir/$export?_type=Patient,Condition")
    assert client.download(manifest) == [
        '{"resourceType":"Patient","id":"1"}',
        '{"resourceType":"Condition","id":"1"}',
    ]


def test_failure__is_a_4xx_that_ends_the_polling(client: BulkClient) -> None:
    failed = client.wait(client.kick_off("/fhir/$export?_type=Unicorn"))
    assert (failed.status_code, failed.json()["detail"]) == (422, "There are no unicorns.")


def test_cancel__by_delete_of_the_polled_url(client: BulkClient) -> None:
    url = client.kick_off("/fhir/Group/slow/$export")
    assert client.http.delete(url).is_success
    assert client.wait(url).is_client_error


def test_resume__by_another_client(client: BulkClient, server: Server) -> None:
    url = client.kick_off("/fhir/$export")
    other = BulkClient(server)
    assert other.wait(url).status_code == 200
    other.http.close()
