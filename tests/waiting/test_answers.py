"""A follow-up request is like the client's own request, under WSGI and ASGI.

Cases: credentials that are good for one request; middleware that refuses with any status,
redirects, answers instead of the view or fails; context variables, Django's language, time zone,
URLconf and script prefix, thread-locals; users and attributes that middleware sets; Django's own
middleware with GZip, ConditionalGet and Locale around it; all differences between two requests.
"""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core import signals
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIRequest
from django.test import Client
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.asgi import waiting
from async_reply.models import Operation
from async_reply.testing import run_operations
from async_reply.waiting import environs, scopes, tickets
from tests.concurrency import in_thread, until_waiting
from tests.project.tasks import echo
from tests.waiting import middleware
from tests.waiting.client import Exchange
from tests.waiting.conftest import Site, in_database

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.waiting.middleware"
LONG = "wait=50"


@dataclass
class Received:
    """An answer as the client received it."""

    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Received]


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest, site: Site) -> Ask:
    """Sends a request that waits, calls `meanwhile`, and returns the answer."""

    def by_wsgi(method: str, url: str, meanwhile: Any, **fields: str) -> Received:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        server: dict[str, Any] = {"wsgi.multithread": True}
        client = Client(raise_request_exception=False, headers=named, **server)
        more: dict[str, Any] = {}
        if method == "POST":
            more = {"data": b"{}", "content_type": "application/json"}

        def talk() -> Received:
            answer: Any = client.generic(method, url, **more)
            body = b"".join(answer)
            answer.close()
            headers = {name.title(): value for name, value in answer.items()}
            return Received(answer.status_code, headers, body)

        with in_thread(talk) as answered:
            until_waiting()
            meanwhile()
            received: Received = answered.result()
            return received

    def by_asgi(method: str, url: str, meanwhile: Any, **fields: str) -> Received:
        named = {name.replace("_", "-"): value for name, value in fields.items()}

        async def talk() -> Received:
            body: Any = {} if method == "POST" else None
            # A new application loads the middleware that the test has set.
            exchange = Exchange(waiting(get_asgi_application()), method, url, body, named)
            await site.until_waiting()
            await in_database(meanwhile)
            answer = await exchange.done()
            return Received(answer.status, answer.headers, answer.body)

        return asyncio.run(talk())

    return by_wsgi if request.param == "wsgi" else by_asgi


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def assert_accepted(answer: Received) -> None:
    operation = Operation.objects.get()
    assert operation.status == "succeeded"
    location = f"http://testserver{url(operation)}"
    assert (answer.status, answer.headers["Location"]) == (202, location)
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Preference-Applied"] == LONG
    assert b'"status":"pending"' in answer.body


def test_submit__with_credentials_for_one_request_gets_the_202(
    ask: Ask, site: Site, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.SignedAccess"}
    fields = {"x_user": str(site.user.pk), "x_signed": "POST /echoes/"}
    assert_accepted(ask("POST", "/echoes/", run_operations, prefer=LONG, **fields))


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
def test_submit__gets_the_202_if_middleware_answers_the_follow_up(
    ask: Ask, site: Site, settings: Settings, status: int
) -> None:
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    settings.MIDDLEWARE = [f"{HERE}.refusing_{status}", *settings.MIDDLEWARE]
    fields = {"authorization": f"Token {site.token}"}
    assert_accepted(ask("POST", "/echoes/", run_operations, prefer=LONG, **fields))


@pytest.mark.parametrize("fails", [False, True])
def test_submit__gets_the_202_if_an_application_around_django_does_not_answer(
    site: Site, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """Its error is logged as what it is."""
    django = site.wrapper.wrapped

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await django(scope, receive, send)
        elif fails:
            raise ZeroDivisionError("error of the project")

    async def talk() -> Any:
        site.wrapper.wrapped = application
        submit = site.say("POST", "/echoes/", {"number": 7}, prefer=LONG)
        await site.until_waiting()
        await site.work()
        return await submit.done()

    assert asyncio.run(talk()).status == 202
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert ["could not get its result" in record.message for record in errors] == [True] * fails
    assert ("error of the project" in caplog.text) is fails


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
@pytest.mark.parametrize("propagates", [False, True])
def test_log__error_of_middleware_in_a_follow_up_request_is_logged_as_what_it_is(
    site: Site,
    operation: Operation,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    path: str,
    propagates: bool,
) -> None:
    """Django logs it, and answers 500; if it propagates, the server gets it, and logs it."""
    settings.DEBUG_PROPAGATE_EXCEPTIONS = propagates
    settings.MIDDLEWARE = [f"{HERE}.failing_in_follow_up", *settings.MIDDLEWARE]

    async def talk() -> str:
        # It loads the middleware. `get_asgi_application` would set up the log anew, without caplog.
        site.wrapper.wrapped = ASGIHandler()
        exchange = site.get(url(operation, path), prefer=LONG)
        await site.until_waiting()
        await site.work()
        try:
            await exchange.done()
        except ZeroDivisionError as error:
            return str(error)
        return ""

    raised = asyncio.run(talk())
    assert raised == ("error of the project" if propagates else "")
    assert "a look at the database failed" not in caplog.text
    assert "the thread that looks for changes failed" not in caplog.text
    names = {record.name for record in caplog.records if record.levelname == "ERROR"}
    assert names == (set() if propagates else {"django.request"})


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__is_refused_if_middleware_finds_its_user_inactive(
    ask: Ask, site: Site, operation: Operation, settings: Settings, name: str
) -> None:
    """The project's middleware looks for the user again."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.FoundAccess"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{HERE}.finding"]

    def lose() -> None:
        site.user.is_active = False
        site.user.save()
        run_operations()

    fields = {"x_user": str(site.user.pk), "x_factor": "1"}
    answer = ask("GET", url(operation, name), lose, prefer=LONG, **fields)
    assert answer.status in (401, 403)


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_follow_up__has_the_attributes_that_middleware_sets(
    ask: Ask, site: Site, operation: Operation, settings: Settings, path: str
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.FoundAccess"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{HERE}.finding"]
    fields = {"x_user": str(site.user.pk), "x_factor": "1"}
    answer = ask("GET", url(operation, path), run_operations, prefer=LONG, **fields)
    assert answer.status == (302 if path == "" else 200)
    assert b'"status":"succeeded"' in answer.body


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_follow_up__finds_nothing_of_earlier_requests(
    ask: Ask, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Its context is empty. The signals of a request clean up thread-locals."""
    settings.MIDDLEWARE = [f"{HERE}.careless", *settings.MIDDLEWARE]
    for name in ("tenants", "languages", "zones", "locals"):
        monkeypatch.setattr(middleware.Found, name, [])

    def clean(**kwargs: Any) -> None:
        middleware.LOCAL.user = ""

    signals.request_started.connect(clean)
    try:
        fields = {"authorization": f"Token {site.token}", "x_user": "ada"}
        for _ in range(3):
            operation = services.submit(echo, owner=str(site.user.pk))
            answer = ask("GET", url(operation, path), run_operations, prefer=LONG, **fields)
            assert b"succeeded" in answer.body
    finally:
        signals.request_started.disconnect(clean)
    assert set(middleware.Found.tenants) == {""}
    assert set(middleware.Found.languages) == {settings.LANGUAGE_CODE}
    assert set(middleware.Found.zones) == {settings.TIME_ZONE}
    assert set(middleware.Found.locals) == {""}
    assert len(middleware.Found.tenants) >= 6


def test_follow_up__sends_the_signals_of_a_request(site: Site, operation: Operation) -> None:
    received: list[str] = []

    def start(**kwargs: Any) -> None:
        received.append("started")

    def finish(**kwargs: Any) -> None:
        received.append("finished")

    async def talk() -> Any:
        poll = site.get(url(operation), prefer=LONG)
        await site.until_waiting()
        received.clear()
        await site.work()
        return await poll.done()

    signals.request_started.connect(start)
    signals.request_finished.connect(finish)
    try:
        assert asyncio.run(talk()).status == 302
    finally:
        signals.request_started.disconnect(start)
        signals.request_finished.disconnect(finish)
    assert received == ["started", "finished"]


DJANGOS = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.locale.LocaleMiddleware",
]


@pytest.fixture
def all_of_djangos(settings: Settings) -> None:
    settings.MIDDLEWARE = [
        *DJANGOS,
        *settings.MIDDLEWARE,
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    settings.SESSION_SAVE_EVERY_REQUEST = True


@pytest.mark.usefixtures("all_of_djangos")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", None, 200), ("GET", "", 302), ("GET", "monitor/", 200), ("GET", "events/", 200)],
)
def test_answer__passes_djangos_middleware(
    ask: Ask, site: Site, method: str, path: str | None, status: int
) -> None:
    """Under WSGI it passes twice, but is compressed once, and its length is right."""
    where = "/echoes/"
    if path is not None:
        text = "x" * 2_000
        operation = services.submit(echo, input={"anything": text}, owner=str(site.user.pk))
        where = url(operation, path)
    fields = {"authorization": f"Token {site.token}", "accept_encoding": "gzip"}
    fields |= {"accept_language": "de"}
    answer = ask(method, where, run_operations, prefer=LONG, **fields)
    assert answer.status == status
    assert int(answer.headers.get("Content-Length", len(answer.body))) == len(answer.body)
    assert ("Content-Length" in answer.headers) is (path != "events/")
    assert answer.headers["Content-Language"] == "de"
    assert answer.headers["X-Frame-Options"] == "DENY"
    encoded = answer.headers.get("Content-Encoding")
    assert encoded in (None, "gzip")
    assert path != "events/" or encoded is None
    body = gzip.decompress(answer.body) if encoded else answer.body
    assert (b"succeeded" in body) is (path is not None)


@pytest.mark.usefixtures("all_of_djangos")
def test_answer__is_304_if_the_client_has_the_version(
    ask: Ask, site: Site, operation: Operation
) -> None:
    fields = {"authorization": f"Token {site.token}", "if_none_match": 'W/"1"'}
    answer = ask("GET", url(operation), lambda: None, prefer="wait=1", **fields)
    assert (answer.status, answer.body) == (304, b"")


def test_events__links_have_the_host_of_their_client(
    site: Site, running: Operation, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = [*HOSTS]

    async def talk() -> list[Any]:
        streams = [site.get(url(running, "events/"), host=host) for host in HOSTS]
        for stream in streams:
            await stream.until(b"running")
        await in_database(lambda: lifecycle.succeed(running))
        return [await stream.done() for stream in streams]

    for stream, host in zip(asyncio.run(talk()), HOSTS, strict=True):
        assert [event["event"] for event in stream.events()] == ["running", "succeeded"]
        assert stream.body.count(f"http://{host}/".encode()) >= 10


HOSTS = ("one.example", "two.example")


def test_follow_up__path_may_have_any_letter() -> None:
    """The prefix as well. Django has decoded both in place."""
    result = "http://testserver/%C3%BC/%C3%B6/?sig=%20"
    scope = scopes.follow_up({"method": "GET", "headers": [], "path": "/x"}, result)
    assert (scope["path"], scope["query_string"]) == ("/ü/ö/", b"sig=%20")
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/ü", "PATH_INFO": "/x/"}
    new_environ, _ = environs.follow_up(environ, result)
    new_environ |= {"SERVER_NAME": "testserver", "SERVER_PORT": "80"}
    request = WSGIRequest(new_environ)
    assert (request.path, request.path_info) == ("/ü/ö/", "/ö/")
    assert request.GET["sig"] == " "


PLAIN: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "https",
    "path": "/api/",
    "raw_path": b"/api/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"testserver"), (b"authorization", b"Token x")],
    "client": ("10.0.0.1", 1234),
    "server": ("testserver", 443),
    "state": {},
    "extensions": {"tls": {"client_cert_chain": ["one"]}},
    tickets.HANDOVER_KEY: tickets.Handover(is_follow_up=True),
}
DIFFERENT: dict[str, dict[str, Any]] = {
    "method": {"method": "HEAD"},
    "path": {"path": "/other/"},
    "query": {"query_string": b"sig=x"},
    "scheme": {"scheme": "http"},
    "server": {"server": ("other", 443)},
    "prefix": {"root_path": "/site"},
    "version": {"http_version": "2"},
    "certificate": {"extensions": {"tls": {"client_cert_chain": ["two"]}}},
    "no certificate": {"extensions": {}},
    "address": {"client": ("10.0.0.2", 1234)},
    "no address": {"client": None},
    "field": {"headers": [(b"host", b"testserver"), (b"authorization", b"Token y")]},
    "state": {"state": {"tenant": "a"}},
    "user": {"user": object()},
    "session": {"session": {"user": 7}},
    "anything": {"path_params": {"id": [object()]}},
    "known": {tickets.HANDOVER_KEY: tickets.Handover(is_follow_up=True, seen=tickets.Seen(3))},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_identity__differs_if_answers_may_differ(name: str) -> None:
    other = {**PLAIN, **DIFFERENT[name]}
    assert scopes.identity(other) != scopes.identity(PLAIN)
    assert scopes.identity(other) == scopes.identity(dict(other))


def test_identity__is_equal_on_another_connection_of_the_client() -> None:
    other = {**PLAIN, "client": ("10.0.0.1", 4321), "state": dict[str, Any]()}
    assert scopes.identity(other) == scopes.identity(PLAIN)
