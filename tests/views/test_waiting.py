"""`Prefer: wait` under WSGI, where each wait holds a thread."""

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
from async_reply.waiting import slots, tickets, versions
from async_reply.waiting.ticker import SharedAnswers, Ticker, Waiter
from tests.concurrency import in_thread, until, until_waiting
from tests.project.tasks import approve
from tests.project.views import EchoView

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]

Submit = Callable[..., Operation]
LONG = {"Prefer": "wait=50"}
#: A server with threads for other requests sets this.
THREADS = {"wsgi.multithread": True}


@pytest.fixture
def api(user: User) -> APIClient:
    """A client with a real token: a follow-up request takes its credentials from the fields."""
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    return APIClient(headers=fields, **THREADS)


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def test_monitor__answers_when_the_operation_has_finished(api: APIClient, submit: Submit) -> None:
    operation = submit(number=7)
    with in_thread(lambda: api.get(url(operation, "monitor/"), headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer["Preference-Applied"] == "wait=50"
    assert answer["ETag"] == 'W/"3"'
    assert "Retry-After" not in answer


def test_status__redirects_when_the_operation_has_finished(api: APIClient, submit: Submit) -> None:
    operation = submit(number=7)
    with in_thread(lambda: api.get(url(operation), headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer["Preference-Applied"]) == (302, "wait=50")
    assert answer["Location"] == f"http://testserver{url(operation, 'result/')}"


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__over_time_answers_the_present_state(
    api: APIClient, submit: Submit, name: str
) -> None:
    operation = submit()
    with in_thread(lambda: api.get(url(operation, name), headers={"Prefer": "wait=1"})) as answered:
        until_waiting()
        assert lifecycle.claim(operation, worker="w1")
        answer = answered.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer["Preference-Applied"] == "wait=1"
    assert int(answer["Retry-After"]) >= 1


def test_poll__with_the_present_version_is_304_at_the_end(api: APIClient, submit: Submit) -> None:
    fields = {"Prefer": "wait=1", "If-None-Match": 'W/"1"'}
    answer = api.get(url(submit()), headers=fields)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.fixture
def approval(user: User) -> Operation:
    """An operation of `approve`, which asks when it is run."""
    return services.submit(approve, owner=str(user.pk))


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__is_answered_when_the_job_asks(
    api: APIClient, approval: Operation, name: str
) -> None:
    with in_thread(lambda: api.get(url(approval, name), headers=LONG)) as answered:
        until_waiting()
        run_operations()
        until(answered.done)
        answer = answered.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert answer.json()["input_required"]["name"] == "approve"
    assert answer["Preference-Applied"] == "wait=50"


def test_poll__while_the_job_asks_is_answered_at_once(
    api: APIClient, approval: Operation, ticker: Ticker
) -> None:
    run_operations()
    answer = api.get(url(approval), headers=LONG)
    assert answer.json()["input_required"]["name"] == "approve"
    assert answer["Preference-Applied"] == "wait=50"
    assert not ticker.is_running


def test_poll__of_a_client_that_knows_the_question_waits_for_the_end(
    api: APIClient, approval: Operation
) -> None:
    run_operations()
    fields = {**LONG, "If-None-Match": api.get(url(approval))["ETag"]}
    with in_thread(lambda: api.get(url(approval), headers=fields)) as answered:
        until_waiting()
        services.answer(Operation.objects.get(), "approve", {"approved": True})
        run_operations()
        until(answered.done)
        answer = answered.result()
    assert answer.status_code == 302


def test_submit__is_answered_when_the_job_asks(api: APIClient) -> None:
    with in_thread(lambda: api.post("/approvals/", {}, headers=LONG)) as answered:
        until_waiting()
        run_operations()
        until(answered.done)
        answer = answered.result()
    assert (answer.status_code, answer["Preference-Applied"]) == (202, "wait=50")
    question = api.get(answer["Location"]).json()["input_required"]
    assert api.post(question["link"], {"approved": True}).status_code == 200


@pytest.mark.parametrize(
    "field", ["wait=x", "wait=-1", "wait=1.5", "wait", "wait=²", "respond-async"]
)
def test_poll__malformed_preference_is_ignored(
    api: APIClient, running: Operation, field: str
) -> None:
    answer = api.get(url(running), headers={"Prefer": field})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer


@pytest.mark.parametrize(("bound", "applied"), [(1, "wait=1"), (0, None)])
def test_poll__setting_limits_the_wait(
    api: APIClient, running: Operation, settings: Settings, bound: int, applied: str | None
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_WAIT": bound}
    answer = api.get(url(running), headers={"Prefer": f"wait={'9' * 5000}"})
    assert answer.get("Preference-Applied") == applied


def test_poll__head_does_not_wait(api: APIClient, running: Operation) -> None:
    assert api.head(url(running), headers=LONG).status_code == 200


def test_poll__without_a_free_slot_is_answered_at_once(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 1}

    def ask() -> Any:
        return api.get(url(running, "monitor/"), headers=LONG)

    with in_thread(ask) as answered:
        until_waiting()
        second = ask()
        assert second.json()["status"] == "running"
        assert "Preference-Applied" not in second
        assert lifecycle.succeed(running)
        assert answered.result().json()["status"] == "succeeded"


def test_poll__in_a_transaction_is_answered_at_once(api: APIClient, running: Operation) -> None:
    with transaction.atomic():
        answer = api.get(url(running), headers=LONG)
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer


def test_poll__holds_no_connection(api: APIClient, running: Operation) -> None:
    opened: list[Any] = []

    def ask() -> None:
        opened.append(connections["default"])
        api.get(url(running), headers=LONG)

    with in_thread(ask):
        until_waiting()
        assert opened[0].connection is None
        lifecycle.succeed(running)


def test_poll__credentials_are_checked_again(user: User, running: Operation) -> None:
    token = Token.objects.create(user=user)
    client = APIClient(headers={"Authorization": f"Token {token}"}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as answered:
        until_waiting()
        token.delete()
        lifecycle.succeed(running)
        assert answered.result().status_code == 401


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__session_is_checked_again(user: User, running: Operation, name: str) -> None:
    client = APIClient(**THREADS)
    client.force_login(user)
    with in_thread(lambda: client.get(url(running, name), headers=LONG)) as answered:
        until_waiting()
        Session.objects.all().delete()
        lifecycle.succeed(running)
        assert answered.result().status_code == 401


def test_poll__is_404_if_the_operation_is_deleted_meanwhile(
    api: APIClient, running: Operation
) -> None:
    with in_thread(lambda: api.get(url(running, "monitor/"), headers=LONG)) as answered:
        until_waiting()
        Operation.objects.filter(pk=running.pk).delete()
        assert answered.result().status_code == 404


def test_poll__counts_once(api: APIClient, running: Operation, settings: Settings) -> None:
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
    target = f"/{language}{url(running)}"
    with in_thread(lambda: api.get(target, headers=LONG)) as answered:
        until_waiting()
        lifecycle.succeed(running)
        answer = answered.result()
    assert (answer.status_code, answer["Location"]) == (
        302,
        f"http://testserver{target}result/",
    )


@pytest.mark.parametrize("logged_in", [False, True])
def test_poll__by_a_user_deleted_meanwhile_is_refused(
    user: User, stranger: User, running: Operation, settings: Settings, logged_in: bool
) -> None:
    """REST framework writes its user to Django's request, where another class may read it."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.EitherAccess"}
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    if logged_in:
        client.force_login(stranger)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as answered:
        until_waiting()
        User.objects.filter(pk=user.pk).delete()
        Operation.objects.filter(pk=running.pk).update(status="succeeded", version=9)
        answer = answered.result()
    assert answer.status_code == (404 if logged_in else 401)


def test_poll__by_a_user_deleted_meanwhile_is_refused_without_sessions(
    user: User, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": "tests.project.access.EitherAccess"}
    settings.MIDDLEWARE = []
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as answered:
        until_waiting()
        User.objects.filter(pk=user.pk).delete()
        Operation.objects.filter(pk=running.pk).update(status="succeeded", version=9)
        assert answered.result().status_code == 401


def test_poll__keeps_the_user_that_middleware_sets(
    user: User, running: Operation, settings: Settings
) -> None:
    """The middleware checks tokens, and the authentication class trusts it."""
    settings.ASYNC_REPLY = {
        **settings.ASYNC_REPLY,
        "ACCESS": "tests.project.access.ForwardedAccess",
    }
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.project.access.forward_user"]
    client = APIClient(headers={"X-User": str(user.pk)}, **THREADS)
    with in_thread(lambda: client.get(url(running), headers=LONG)) as answered:
        until_waiting()
        lifecycle.succeed(running)
        assert answered.result().status_code == 302


# -- submits


def test_submit__below_a_prefix(api: APIClient) -> None:
    def post() -> Any:
        set_script_prefix("/site/")
        try:
            return api.post("/echoes/", {"number": 7}, headers=LONG, SCRIPT_NAME="/site")
        finally:
            clear_script_prefix()

    with in_thread(post) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Content-Location"].startswith("http://testserver/site/api/operations/")


@pytest.mark.usefixtures("_multilingual")
def test_submit__below_a_language(api: APIClient) -> None:
    with in_thread(lambda: api.post("/de/echoes/", {"number": 7}, headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Content-Location"].startswith("http://testserver/de/api/operations/")


def test_submit__answers_the_result(api: APIClient) -> None:
    with in_thread(lambda: api.post("/echoes/", {"number": 7}, headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    result = f"http://testserver{url(Operation.objects.get(), 'result/')}"
    assert (answer["Preference-Applied"], answer["Content-Location"]) == ("wait=50", result)
    assert not {"Location", "Operation-Location", "Retry-After"} & set(answer.headers)


def test_submit__answers_the_failure(api: APIClient) -> None:
    with in_thread(lambda: api.post("/refusals/", {}, headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    result = f"http://testserver{url(Operation.objects.get(), 'result/')}"
    assert (answer["Preference-Applied"], answer["Content-Location"]) == ("wait=50", result)
    assert not {"Location", "Operation-Location", "Retry-After"} & set(answer.headers)


def test_submit__answers_the_location_of_a_created_resource(api: APIClient) -> None:
    with in_thread(lambda: api.post("/creations/", {}, headers=LONG)) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer["Location"]) == (302, "http://testserver/things/7/")


def test_submit__without_an_owner_never_holds_a_thread(ticker: Ticker) -> None:
    """Otherwise anybody could occupy all threads."""
    answer = APIClient(**THREADS).post("/open/", {"number": 7}, headers=LONG)
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer
    assert not ticker.is_running


def test_submit__unfinished_in_time_is_202(api: APIClient) -> None:
    answer = api.post("/echoes/", {}, headers={"Prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert answer["Preference-Applied"] == "respond-async, wait=1"
    assert answer["Location"] == f"http://testserver{url(Operation.objects.get())}"


def test_submit__waits_by_default_as_the_project_says(api: APIClient, settings: Settings) -> None:
    """The answer does not name a preference that the client has not sent."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "DEFAULT_WAIT": 50}
    with in_thread(lambda: api.post("/echoes/", {"number": 7})) as answered:
        until_waiting()
        run_operations()
        answer = answered.result()
    assert (answer.status_code, answer.json()) == (200, {"number": 7})
    assert answer["Content-Location"].endswith("/result/")
    assert "Preference-Applied" not in answer


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async", "respond-async"),
        ("wait=soon", None),
        ("respond-async, wait=0", "respond-async, wait=0"),
    ],
)
def test_submit__with_a_preference_does_not_wait_by_default(
    api: APIClient, settings: Settings, ticker: Ticker, prefer: str, applied: str | None
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "DEFAULT_WAIT": 50}
    answer = api.post("/echoes/", {}, headers={"Prefer": prefer})
    assert (answer.status_code, answer.get("Preference-Applied")) == (202, applied)
    assert not ticker.is_running


@pytest.mark.parametrize(
    ("setting", "of_the_view", "most", "seconds"),
    [
        (50, None, None, 50),
        (50, 20, None, 20),
        (50, 0, None, None),
        (0, 20, None, 20),
        (50, None, 5, 5),
        (50, None, 0, None),
        (0, None, None, None),
    ],
)
def test_submit__default_of_the_view_and_its_limit(
    api: APIClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    setting: int,
    of_the_view: int | None,
    most: int | None,
    seconds: int | None,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "DEFAULT_WAIT": setting}
    monkeypatch.setattr(EchoView, "default_wait", of_the_view)
    monkeypatch.setattr(EchoView, "max_wait", most)
    waits: list[Any] = []
    monkeypatch.setattr(slots, "wait", lambda ticket: waits.append(ticket.seconds))
    answer = api.post("/echoes/", {}, headers={"Prefer": "return=minimal"})
    assert (answer.status_code, waits) == (202, [] if seconds is None else [seconds])


def test_submit__by_default_in_vain_is_202(api: APIClient, settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "DEFAULT_WAIT": 1}
    answer = api.post("/echoes/", {})
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert "Preference-Applied" not in answer
    assert int(answer["Retry-After"]) >= 1


def test_submit__replay_answers_the_result_as_well(api: APIClient) -> None:
    fields = {"Idempotency-Key": "k"}
    api.post("/echoes/", {"number": 7}, headers=fields)
    run_operations()
    plain, waiting = (
        api.post("/echoes/", {"number": 7}, headers=fields | more) for more in ({}, LONG)
    )
    assert (plain.status_code, plain.json()["status"]) == (202, "pending")
    assert (waiting.status_code, waiting.json()) == (200, {"number": 7})


def test_submit__view_limits_the_wait(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoView, "max_wait", 1)
    assert api.post("/echoes/", {}, headers=LONG)["Preference-Applied"] == "wait=1"
    monkeypatch.setattr(EchoView, "max_wait", 0)
    assert "Preference-Applied" not in api.post("/echoes/", {}, headers=LONG)


def test_submit__already_finished_needs_no_slot(
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
    return slots.wait(tickets.Wait(operation, 30, ("owner", str(operation.pk)), ""))


def test_ticker__tells_of_a_change_between_read_and_wait(submit: Submit) -> None:
    operation = submit()
    services.cancel(Operation.objects.get())
    assert wait_for(operation) is True


def test_ticker__has_no_thread_when_nobody_waits(running: Operation, ticker: Ticker) -> None:
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        assert ticker.is_running
        lifecycle.succeed(running)
        assert waited.result() is True
    until(lambda: not ticker.is_running)


def test_ticker__outage_delays_the_answer(
    running: Operation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("async_reply.waiting.ticker.TICK_AFTER_ERROR_SECONDS", 0.01)
    looks: list[int] = []
    changed = versions.changed

    def fail(seen: versions.Seen) -> Any:
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


def test_ticker__looks_at_all_operations_together(submit: Submit, monkeypatch: Any) -> None:
    operations = [submit() for _ in range(3)]
    numbers: list[int] = []
    changed = versions.changed

    def look(seen: versions.Seen) -> Any:
        numbers.append(len(seen.versions))
        return changed(seen)

    monkeypatch.setattr(versions, "changed", look)
    with in_thread(lambda: wait_for(operations[0])), in_thread(lambda: wait_for(operations[1])):
        until_waiting(2)
        until(lambda: numbers[-1:] == [2])
        run_operations()


def test_ticker__waiter_that_fails_does_not_harm_others(
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


def test_ticker__tells_a_waiter_only_of_newer_versions(running: Operation, ticker: Ticker) -> None:
    """A waiter with an older version is told at once, one with the newest version is not."""
    names: list[str] = []
    late = Waiter(running.pk, running.version - 1, lambda row, shared: names.append("late"))
    early = Waiter(running.pk, running.version, lambda row, shared: names.append("early"))
    with ticker.watching(early), ticker.watching(late):
        until(lambda: bool(names))
        assert names == ["late"]
        lifecycle.succeed(running)
        until(lambda: len(names) == 3)
        assert sorted(names[1:]) == ["early", "late"]
