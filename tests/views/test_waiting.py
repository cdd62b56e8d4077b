"""`Prefer: wait` where each wait holds a thread."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections, transaction
from django.db.utils import OperationalError
from django.urls import clear_script_prefix, set_script_prefix
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.models import Operation
from async_reply.testing import run_operations
from async_reply.waiting import slots, versions
from async_reply.waiting.ticker import SharedAnswers, Ticker, Waiter
from tests.concurrency import in_thread, until, until_waiting
from tests.project.views import EchoView

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]

Submit = Callable[..., Operation]
LONG = {"Prefer": "wait=50"}
#: What a server says that has threads for others.
THREADS = {"wsgi.multithread": True}


@pytest.fixture
def api(user: User) -> APIClient:
    """A client with a real token: a request that is asked again knows nothing but its fields."""
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    return APIClient(headers=fields, **THREADS)


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def test_monitor__is_answered_when_it_has_finished(api: APIClient, submit: Submit) -> None:
    operation = submit(number=7)
    with in_thread(lambda: api.get(url(operation, "monitor/"), headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer["Preference-Applied"] == "wait=50"
    assert answer["ETag"] == 'W/"3"'
    assert "Retry-After" not in answer


def test_status__redirects_when_it_has_finished(api: APIClient, submit: Submit) -> None:
    operation = submit(number=7)
    with in_thread(lambda: api.get(url(operation), headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer["Preference-Applied"]) == (302, "wait=50")
    assert answer["Location"] == f"http://testserver{url(operation, 'result/')}"


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__over_time_tells_of_now(api: APIClient, submit: Submit, name: str) -> None:
    operation = submit()
    with in_thread(lambda: api.get(url(operation, name), headers={"Prefer": "wait=1"})) as asked:
        until_waiting()
        assert lifecycle.claim(operation, worker="w1")
        answer = asked.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer["Preference-Applied"] == "wait=1"
    assert int(answer["Retry-After"]) >= 1


def test_poll__with_the_present_version_is_304_at_the_end(api: APIClient, submit: Submit) -> None:
    fields = {"Prefer": "wait=1", "If-None-Match": 'W/"1"'}
    answer = api.get(url(submit()), headers=fields)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    "field", ["wait=x", "wait=-1", "wait=1.5", "wait", "wait=²", "respond-async"]
)
def test_poll__malformed_wish_is_ignored(api: APIClient, running: Operation, field: str) -> None:
    answer = api.get(url(running), headers={"Prefer": field})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer


@pytest.mark.parametrize(("bound", "applied"), [(1, "wait=1"), (0, None)])
def test_poll__setting_bounds_the_wait(
    api: APIClient, running: Operation, settings: Settings, bound: int, applied: str | None
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_WAIT": bound}
    answer = api.get(url(running), headers={"Prefer": f"wait={'9' * 5000}"})
    assert answer.get("Preference-Applied") == applied


def test_poll__head_does_not_wait(api: APIClient, running: Operation) -> None:
    assert api.head(url(running), headers=LONG).status_code == 200


def test_poll__beyond_the_seats_is_answered_at_once(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 1}

    def ask() -> Any:
        return api.get(url(running, "monitor/"), headers=LONG)

    with in_thread(ask) as asked:
        until_waiting()
        second = ask()
        assert second.json()["status"] == "running"
        assert "Preference-Applied" not in second
        assert lifecycle.succeed(running)
        assert asked.result().json()["status"] == "succeeded"


def test_poll__in_a_transaction_is_answered_at_once(api: APIClient, running: Operation) -> None:
    with transaction.atomic():
        answer = api.get(url(running), headers=LONG)
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer


def test_poll__holds_no_connection(api: APIClient, running: Operation) -> None:
    held: list[Any] = []

    def ask() -> None:
        held.append(connections["default"])
        api.get(url(running), headers=LONG)

    with in_thread(ask):
        until_waiting()
        assert held[0].connection is None
        lifecycle.succeed(running)


def test_poll__credentials_are_read_anew(user: User, running: Operation) -> None:
    token = Token.objects.create(user=user)
    client = APIClient(headers={"Authorization": f"Token {token}"}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as asked:
        until_waiting()
        token.delete()
        lifecycle.succeed(running)
        assert asked.result().status_code == 401


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__session_is_read_anew(user: User, running: Operation, name: str) -> None:
    client = APIClient(**THREADS)
    client.force_login(user)
    with in_thread(lambda: client.get(url(running, name), headers=LONG)) as asked:
        until_waiting()
        Session.objects.all().delete()
        lifecycle.succeed(running)
        assert asked.result().status_code == 401


def test_poll__of_what_is_deleted_meanwhile(api: APIClient, running: Operation) -> None:
    with in_thread(lambda: api.get(url(running, "monitor/"), headers=LONG)) as asked:
        until_waiting()
        Operation.objects.filter(pk=running.pk).delete()
        assert asked.result().status_code == 404


def test_poll__costs_one_poll(api: APIClient, running: Operation, settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "POLL_RATE": "2/day"}
    answers = [api.get(url(running), headers={"Prefer": "wait=1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_poll__below_a_prefix(api: APIClient, running: Operation) -> None:
    set_script_prefix("/site/")
    try:
        answer = api.get(url(running), headers={"Prefer": "wait=1"}, SCRIPT_NAME="/site")
    finally:
        clear_script_prefix()
    assert answer.status_code == 200
    assert answer.json()["links"]["self"] == f"http://testserver/site{url(running)}"


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.usefixtures("_multilingual")
def test_poll__below_a_language(api: APIClient, running: Operation, language: str) -> None:
    asked_for = f"/{language}{url(running)}"
    with in_thread(lambda: api.get(asked_for, headers=LONG)) as asked:
        until_waiting()
        lifecycle.succeed(running)
        answer = asked.result()
    assert (answer.status_code, answer["Location"]) == (
        302,
        f"http://testserver{asked_for}result/",
    )


@pytest.mark.parametrize("logged_in", [False, True])
def test_poll__who_is_unknown_by_now_is_not_who_it_was(
    user: User, stranger: User, running: Operation, settings: Settings, logged_in: bool
) -> None:
    """Whom REST framework let in is written onto Django's request, where sessions look next."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.EitherAccess"}
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    if logged_in:
        client.force_login(stranger)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as asked:
        until_waiting()
        User.objects.filter(pk=user.pk).delete()
        Operation.objects.filter(pk=running.pk).update(status="succeeded", version=9)
        answer = asked.result()
    assert answer.status_code == (404 if logged_in else 401)


def test_poll__who_is_unknown_by_now_where_there_are_no_sessions(
    user: User, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.EitherAccess"}
    settings.MIDDLEWARE = []
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as asked:
        until_waiting()
        User.objects.filter(pk=user.pk).delete()
        Operation.objects.filter(pk=running.pk).update(status="succeeded", version=9)
        assert asked.result().status_code == 401


def test_poll__whom_the_projects_middleware_has_found_stays(
    user: User, running: Operation, settings: Settings
) -> None:
    """As one that reads tokens does, in front of a class that takes its word."""
    settings.ASYNC_REPLY = {
        **settings.ASYNC_REPLY,
        "ACCESS": "tests.project.access.ForwardedAccess",
    }
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.project.access.forward_user"]
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as asked:
        until_waiting()
        lifecycle.succeed(running)
        assert asked.result().status_code == 302


# -- submit


def test_submit__below_a_prefix(api: APIClient) -> None:
    def post() -> Any:
        set_script_prefix("/site/")
        try:
            return api.post("/echoes/", {"number": 7}, headers=LONG, SCRIPT_NAME="/site")
        finally:
            clear_script_prefix()

    with in_thread(post) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Content-Location"].startswith("http://testserver/site/api/operations/")


@pytest.mark.usefixtures("_multilingual")
def test_submit__below_a_language(api: APIClient) -> None:
    with in_thread(lambda: api.post("/de/echoes/", {"number": 7}, headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Content-Location"].startswith("http://testserver/de/api/operations/")


def test_submit__answers_the_reply(api: APIClient) -> None:
    with in_thread(lambda: api.post("/echoes/", {"number": 7}, headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    result = f"http://testserver{url(Operation.objects.get(), 'result/')}"
    assert (answer["Preference-Applied"], answer["Content-Location"]) == ("wait=50", result)
    assert not {"Location", "Operation-Location", "Retry-After"} & set(answer.headers)


def test_submit__answers_the_failure(api: APIClient) -> None:
    with in_thread(lambda: api.post("/refusals/", {}, headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    result = f"http://testserver{url(Operation.objects.get(), 'result/')}"
    assert (answer["Preference-Applied"], answer["Content-Location"]) == ("wait=50", result)
    assert not {"Location", "Operation-Location", "Retry-After"} & set(answer.headers)


def test_submit__answers_a_redirecting_results_own_location(api: APIClient) -> None:
    with in_thread(lambda: api.post("/creations/", {}, headers=LONG)) as asked:
        until_waiting()
        run_operations()
        answer = asked.result()
    assert (answer.status_code, answer["Location"]) == (302, "http://testserver/things/7/")


def test_submit__of_nobody_never_holds_a_thread(ticker: Ticker) -> None:
    """Anybody may send as many as there are threads."""
    answer = APIClient(**THREADS).post("/open/", {"number": 7}, headers=LONG)
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer
    assert not ticker.is_running


def test_submit__unfinished_in_time_is_202(api: APIClient) -> None:
    answer = api.post("/echoes/", {}, headers={"Prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert answer["Preference-Applied"] == "respond-async, wait=1"
    assert answer["Location"] == f"http://testserver{url(Operation.objects.get())}"


def test_submit__replay_is_answered_alike(api: APIClient) -> None:
    fields = {"Idempotency-Key": "k"}
    api.post("/echoes/", {"number": 7}, headers=fields)
    run_operations()
    plain, waiting = (
        api.post("/echoes/", {"number": 7}, headers=fields | more) for more in ({}, LONG)
    )
    assert (plain.status_code, plain.json()["status"]) == (202, "pending")
    assert (waiting.status_code, waiting.json()) == (200, {"number": 7})


def test_submit__view_bounds_the_wait(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoView, "max_wait", 1)
    assert api.post("/echoes/", {}, headers=LONG)["Preference-Applied"] == "wait=1"
    monkeypatch.setattr(EchoView, "max_wait", 0)
    assert "Preference-Applied" not in api.post("/echoes/", {}, headers=LONG)


def test_submit__of_what_is_done_already_takes_no_seat(
    api: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 0}
    monkeypatch.setattr(EchoView, "perform_submit", _run_after_commit)
    answer = api.post("/echoes/", {"number": 7}, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Preference-Applied"] == "wait=0"


def _run_after_commit(view: EchoView, operation: Operation) -> None:
    transaction.on_commit(lambda: run_operations())


# -- the ticker


def wait_for(operation: Operation) -> bool | None:
    return slots.wait(operation, seconds=30, caller=("owner", str(operation.pk)))


def test_ticker__misses_nothing_between_read_and_wait(submit: Submit) -> None:
    operation = submit()
    services.cancel(Operation.objects.get())
    assert wait_for(operation) is True


def test_ticker__has_no_thread_once_nobody_waits(running: Operation, ticker: Ticker) -> None:
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        assert ticker.is_running
        lifecycle.succeed(running)
        assert waited.result() is True
    until(lambda: not ticker.is_running)


def test_ticker__outage_only_delays(
    running: Operation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("async_reply.waiting.ticker.TICK_AFTER_ERROR_SECONDS", 0.01)
    looks: list[int] = []
    changed = versions.changed

    def fail(seen: versions.Versions) -> Any:
        looks.append(1)
        if len(looks) < 4:
            raise OperationalError("server closed the connection unexpectedly")
        return changed(seen)

    monkeypatch.setattr(versions, "changed", fail)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        lifecycle.succeed(running)
        assert waited.result() is True
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.message for record in warned] == ["Waiting: a look at the database failed"]


def test_ticker__one_statement_a_tick_for_all(submit: Submit, monkeypatch: Any) -> None:
    operations = [submit() for _ in range(3)]
    numbers: list[int] = []
    changed = versions.changed

    def look(seen: versions.Versions) -> Any:
        numbers.append(len(seen))
        return changed(seen)

    monkeypatch.setattr(versions, "changed", look)
    with in_thread(lambda: wait_for(operations[0])), in_thread(lambda: wait_for(operations[1])):
        until_waiting(2)
        until(lambda: numbers[-1:] == [2])
        run_operations()


def test_ticker__who_cannot_be_told_does_not_harm_others(
    running: Operation, ticker: Ticker, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(row: Operation | None, shared: SharedAnswers) -> None:
        raise ZeroDivisionError

    waiter = Waiter(running.pk, running.version, refuse)
    with ticker.watching(waiter), in_thread(lambda: wait_for(running)) as waited:
        until_waiting(2)
        lifecycle.succeed(running)
        assert waited.result() is True
        until(lambda: "a waiter could not be told" in caplog.text)


def test_ticker__tells_each_waiter_what_is_new_to_it(running: Operation, ticker: Ticker) -> None:
    """One who read an older version is told at once, one who has the newest is not."""
    told: list[str] = []
    late = Waiter(running.pk, running.version - 1, lambda row, shared: told.append("late"))
    early = Waiter(running.pk, running.version, lambda row, shared: told.append("early"))
    with ticker.watching(early), ticker.watching(late):
        until(lambda: bool(told))
        assert told == ["late"]
        lifecycle.succeed(running)
        until(lambda: len(told) == 3)
        assert sorted(told[1:]) == ["early", "late"]
