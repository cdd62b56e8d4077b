"""A request that is asked again is the client's own: on both kinds of server.

Members looked at: credentials for one request alone; middleware that refuses with any status,
redirects, answers in the view's place or fails; context variables, Django's language, time zone,
URLconf and script prefix, thread-locals; users and attributes that middleware finds; Django's own
middleware with GZip, ConditionalGet and Locale around it; all that tells two questions apart.
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
class Told:
    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Told]


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest, site: Site) -> Ask:
    """What a client is told who waits while something happens."""

    def by_wsgi(method: str, url: str, meanwhile: Any, **fields: str) -> Told:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        server: dict[str, Any] = {"wsgi.multithread": True}
        client = Client(raise_request_exception=False, headers=named, **server)
        more: dict[str, Any] = {}
        if method == "POST":
            more = {"data": b"{}", "content_type": "application/json"}

        def talk() -> Told:
            answer: Any = client.generic(method, url, **more)
            body = b"".join(answer)
            answer.close()
            headers = {name.title(): value for name, value in answer.items()}
            return Told(answer.status_code, headers, body)

        with in_thread(talk) as asked:
            until_waiting()
            meanwhile()
            told: Told = asked.result()
            return told

    def by_asgi(method: str, url: str, meanwhile: Any, **fields: str) -> Told:
        named = {name.replace("_", "-"): value for name, value in fields.items()}

        async def talk() -> Told:
            body: Any = {} if method == "POST" else None
            # Made here: it loads the middleware that the test has set.
            exchange = Exchange(waiting(get_asgi_application()), method, url, body, named)
            await site.until_waiting()
            await in_database(meanwhile)
            answer = await exchange.done()
            return Told(answer.status, answer.headers, answer.body)

        return asyncio.run(talk())

    return by_wsgi if request.param == "wsgi" else by_asgi


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def assert_accepted(told: Told) -> None:
    operation = Operation.objects.get()
    assert operation.status == "succeeded"
    assert (told.status, told.headers["Location"]) == (202, f"http://testserver{url(operation)}")
    assert int(told.headers["Retry-After"]) >= 1
    assert told.headers["Preference-Applied"] == LONG
    assert b'"status":"pending"' in told.body


def test_submit__by_credentials_of_one_request_is_told_the_202(
    ask: Ask, site: Site, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.SignedAccess"}
    fields = {"x_user": str(site.user.pk), "x_signed": "POST /echoes/"}
    assert_accepted(ask("POST", "/echoes/", run_operations, prefer=LONG, **fields))


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
def test_submit__whose_second_look_ends_before_the_view_is_told_the_202(
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
def test_poll__that_middleware_lets_in_no_more_is_refused(
    ask: Ask, site: Site, operation: Operation, settings: Settings, name: str
) -> None:
    """Who was found by the project's middleware is looked for by it again."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.FoundAccess"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{HERE}.finding"]

    def lose() -> None:
        site.user.is_active = False
        site.user.save()
        run_operations()

    fields = {"x_user": str(site.user.pk), "x_factor": "1"}
    told = ask("GET", url(operation, name), lose, prefer=LONG, **fields)
    assert told.status in (401, 403)


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_again__has_what_middleware_puts_on_user_and_request(
    ask: Ask, site: Site, operation: Operation, settings: Settings, path: str
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{HERE}.FoundAccess"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{HERE}.finding"]
    fields = {"x_user": str(site.user.pk), "x_factor": "1"}
    told = ask("GET", url(operation, path), run_operations, prefer=LONG, **fields)
    assert told.status == (302 if path == "" else 200)
    assert b'"status":"succeeded"' in told.body


@pytest.mark.parametrize("path", ["", "monitor/", "events/"])
def test_again__finds_nothing_of_the_request_before(
    ask: Ask, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A context of its own; what is in threads is cleaned up by the signals of a request."""
    settings.MIDDLEWARE = [f"{HERE}.careless", *settings.MIDDLEWARE]
    for name in ("tenants", "languages", "zones", "locals"):
        monkeypatch.setattr(middleware.Seen, name, [])

    def clean(**kwargs: Any) -> None:
        middleware.LOCAL.user = ""

    signals.request_started.connect(clean)
    try:
        fields = {"authorization": f"Token {site.token}", "x_user": "ada"}
        for _ in range(3):
            made = services.submit(echo, owner=str(site.user.pk))
            told = ask("GET", url(made, path), run_operations, prefer=LONG, **fields)
            assert b"succeeded" in told.body
    finally:
        signals.request_started.disconnect(clean)
    assert set(middleware.Seen.tenants) == {""}
    assert set(middleware.Seen.languages) == {settings.LANGUAGE_CODE}
    assert set(middleware.Seen.zones) == {settings.TIME_ZONE}
    assert set(middleware.Seen.locals) == {""}
    assert len(middleware.Seen.tenants) >= 6


def test_again__begins_and_ends_as_a_request(site: Site, operation: Operation) -> None:
    """Who counts on the signals of requests hears of each; the connection outlives them."""
    heard: list[str] = []

    def begin(**kwargs: Any) -> None:
        heard.append("began")

    def end(**kwargs: Any) -> None:
        heard.append("ended")

    async def talk() -> Any:
        poll = site.get(url(operation), prefer=LONG)
        await site.until_waiting()
        del heard[:]
        await site.work()
        return await poll.done()

    signals.request_started.connect(begin)
    signals.request_finished.connect(end)
    try:
        assert asyncio.run(talk()).status == 302
    finally:
        signals.request_started.disconnect(begin)
        signals.request_finished.disconnect(end)
    assert heard == ["began", "ended"]


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
def test_answer__passes_djangos_middleware_as_any_other(
    ask: Ask, site: Site, method: str, path: str | None, status: int
) -> None:
    """Under WSGI it does so twice: it is compressed once, and its length is right."""
    where = "/echoes/"
    if path is not None:
        made = services.submit(echo, input={"anything": "x" * 2_000}, owner=str(site.user.pk))
        where = url(made, path)
    fields = {"authorization": f"Token {site.token}", "accept_encoding": "gzip"}
    fields |= {"accept_language": "de"}
    told = ask(method, where, run_operations, prefer=LONG, **fields)
    assert told.status == status
    assert int(told.headers.get("Content-Length", len(told.body))) == len(told.body)
    assert ("Content-Length" in told.headers) is (path != "events/")
    assert told.headers["Content-Language"] == "de"
    assert told.headers["X-Frame-Options"] == "DENY"
    encoded = told.headers.get("Content-Encoding")
    assert encoded in (None, "gzip")
    assert path != "events/" or encoded is None
    body = gzip.decompress(told.body) if encoded else told.body
    assert (b"succeeded" in body) is (path is not None)


@pytest.mark.usefixtures("all_of_djangos")
def test_answer__is_304_where_the_client_has_it(ask: Ask, site: Site, operation: Operation) -> None:
    fields = {"authorization": f"Token {site.token}", "if_none_match": 'W/"1"'}
    told = ask("GET", url(operation), lambda: None, prefer="wait=1", **fields)
    assert (told.status, told.body) == (304, b"")


def test_events__links_and_language_are_the_clients_own(
    site: Site, running: Operation, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["one.example", "two.example"]

    async def talk() -> list[Any]:
        streams = [site.get(url(running, "events/"), host=f"{one}.example") for one in HOSTS]
        for stream in streams:
            await stream.until(b"running")
        await in_database(lambda: lifecycle.succeed(running))
        return [await stream.done() for stream in streams]

    for stream, host in zip(asyncio.run(talk()), HOSTS, strict=True):
        assert [event["event"] for event in stream.events()] == ["running", "succeeded"]
        assert stream.body.count(f"http://{host}.example/".encode()) >= 10


HOSTS = ("one", "two")


def test_again__paths_may_hold_any_letter() -> None:
    """Below a prefix, too; Django has decoded both where they stand."""
    asked = "http://testserver/%C3%BC/%C3%B6/?sig=%20"
    scope = scopes.follow_up({"method": "GET", "headers": [], "path": "/x"}, asked)
    assert (scope["path"], scope["query_string"]) == ("/ü/ö/", b"sig=%20")
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/ü", "PATH_INFO": "/x/"}
    made, _ = environs.follow_up(environ, asked)
    made |= {"SERVER_NAME": "testserver", "SERVER_PORT": "80"}
    request = WSGIRequest(made)
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
def test_identity__of_questions_that_may_be_answered_differently(name: str) -> None:
    other = {**PLAIN, **DIFFERENT[name]}
    assert scopes.identity(other) != scopes.identity(PLAIN)
    assert scopes.identity(other) == scopes.identity(dict(other))


def test_identity__is_that_of_the_same_client_on_another_connection() -> None:
    other = {**PLAIN, "client": ("10.0.0.1", 4321), "state": dict[str, Any]()}
    assert scopes.identity(other) == scopes.identity(PLAIN)
