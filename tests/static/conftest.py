"""Chromium, the demo's servers, and servers that know the pattern but not this package."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from shutil import which
from typing import Any

import pytest

from tests.clients.server import lacks, need
from tests.stacks.stack import Stack, prepared
from tests.static.foreign import Foreign

#: Runs in the page: the module, its requests, and a promise that is over after a while.
LIBRARY = """
const module = await import("/static/async_reply/client.js");
const {submit, follow, cancel, OperationFailed} = module;
const {answer} = await import("/static/async_reply/answer.js");
const {followLog} = await import("/static/async_reply/log.js");
const requests = [], documents = [];
const headers = {Authorization: "Token demo"};
const logged = async (url, init) => {
  const request = {method: init.method ?? "GET", url, headers: Object.fromEntries(init.headers)};
  requests.push(request);
  const response = await fetch(url, init);
  request.status = response.status;
  return response;
};
const onChange = (operation) => documents.push(operation);
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const failure = (promise) => promise.then(() => null, (error) => ({
  name: error.name, status: error.status, message: error.message, canceled: error.isCanceled,
  code: error.problem?.code, errors: error.problem?.errors, operation: error.operation?.status,
}));
"""


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with prepared(
        tmp_path_factory.mktemp("static"),
        database="sqlite",
        broker="files",
        settings="tests.static.settings",
        lease=5,
    ) as running:
        running.start_worker()
        yield running


@pytest.fixture(scope="package")
def asgi_port(stack: Stack) -> int:
    return stack.start_asgi()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    playwright = need("playwright.sync_api")
    path = which("chromium")
    if path is None:
        lacks("needs chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def run(chromium: Any, stack: Stack) -> Iterator[Callable[..., Any]]:
    """Runs a function body in a page of the server at `origin`; the value that it returns."""
    page = chromium.new_page()

    def execute(program: str, *, origin: str = "", argument: Any = None) -> Any:
        origin = origin or f"http://127.0.0.1:{stack.port}"
        page.goto(f"{origin}/static/async_reply/client.js")
        return page.evaluate(f"async (ARGUMENT) => {{ {LIBRARY} {program} }}", argument)

    yield execute
    page.close()


@pytest.fixture
def foreign() -> Iterator[Callable[[], str]]:
    """Starts a server without this package; its origin."""
    servers = []

    def start() -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Foreign,), {"polls": {}}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
