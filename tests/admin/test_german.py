"""No page of the admin shows an English sentence to a German operator, and no message is one."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override
from pytest_django import Settings

from async_reply import services
from async_reply.admin import windows
from async_reply.admin.commands import COMMANDS
from async_reply.models import Operation
from async_reply.publishing import broker
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.admin import scenes
from tests.admin.conftest import LIST, button, messages, page
from tests.admin.test_event_log import line, store
from tests.project.tasks import approve, break_down

pytestmark = pytest.mark.django_db

#: Words that most English sentences have, and no German one.
ENGLISH = re.compile(
    r"\b(the|of|and|with|this|that|is|are|not|no|has|have|been|to|for|from|its|it|by|be|which|all)\b",
    re.IGNORECASE,
)
#: Elements whose text is data: JSON, tracebacks, names and ids.
DATA = ("script", "style", "pre", "code")
ATTRIBUTES = ("title", "aria-label", "placeholder", "alt", "value", "content")


class Texts(HTMLParser):
    """The texts of a page that a person reads, those of attributes too."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._data = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._data += tag in DATA
        self.found += [value for name, value in attrs if name in ATTRIBUTES and value]

    def handle_endtag(self, tag: str) -> None:
        self._data -= tag in DATA

    def handle_data(self, data: str) -> None:
        if not self._data and data.strip():
            self.found.append(" ".join(data.split()))


def english(html: str) -> list[str]:
    """The texts of the page that are English."""
    texts = Texts()
    texts.feed(html)
    assert texts.found
    return [text for text in texts.found if ENGLISH.search(text)]


@pytest.fixture(autouse=True)
def _german(settings: Settings) -> Iterator[None]:
    settings.LANGUAGE_CODE = "de"
    with override("de"):
        yield


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "answers", lambda: False)


def read(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return str(response.content.decode())


def test_english__is_seen_in_texts_and_attributes() -> None:
    assert english("<p>Der Vorgang.</p><code>of the</code>") == []
    assert english('<a title="of it">x</a><p>y <b>is here</b></p>') == ["of it", "is here"]


@pytest.mark.parametrize(
    "url",
    [
        "/admin/",
        "/admin/async_reply/",
        "/admin/async_reply/worker/",
        "/admin/async_reply_webhooks/endpoint/",
        "/admin/async_reply_webhooks/delivery/",
        LIST,
        *(f"{LIST}?{query}" for query in ("status=pending", "q=a", "q=0123abcd", "queue=celery")),
        *(
            f"{LIST}?status=failed&{query}"
            for query in ("code=tests", "exception=", "finished=day")
        ),
        *(f"{LIST}?attention={name}" for name in ("stuck", "overdue", "idle")),
        f"{LIST}dashboard/",
        f"{LIST}dashboard/?span=month&kind=images.resize",
        f"{LIST}failures/?finished=week",
        *(f"{LIST}bulk/{name}/?owner=ada" for name in ("cancel", "rerun", "delete")),
    ],
)
def test_page__has_no_english_sentence(
    in_status: Callable[..., Operation],
    admin_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    scenes.busy_site()
    for status in (*Status, Status.FAILED, Status.FAILED):
        in_status(status)
    assert english(read(admin_client, url)) == []


@pytest.mark.parametrize("status", Status)
def test_page__of_an_operation_has_no_english_sentence(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    operation = in_status(status)
    store(operation, line("x"))
    assert english(read(admin_client, page(operation))) == []


def test_page__of_a_broken_job_has_no_english_sentence(admin_client: Client) -> None:
    operation = services.submit(break_down, owner="ada")
    run_operations()
    operation.refresh_from_db()
    assert operation.status == Status.FAILED
    services.rerun(operation)
    for url in (page(operation), f"{LIST}?status=failed", f"{LIST}{operation.pk}/history/"):
        # The message of the project's exception.
        assert set(english(read(admin_client, url))) <= {": a secret of the server"}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("name", COMMANDS)
def test_command__answers_without_an_english_sentence(
    in_status: Callable[..., Operation], admin_client: Client, status: Status, name: str
) -> None:
    """The question before it, what it did, and why it did nothing."""
    operation = in_status(status)
    for data in ({}, {"confirmed": "yes"}, {"confirmed": "yes"}):
        response = admin_client.post(button(operation, name), data, follow=True)
        assert response.status_code == 200
        assert english(response.content.decode()) == []
    actions = {"cancel": "cancel_operations", "rerun": "rerun_operations"}
    data = {"action": actions.get(name, "delete_operations"), "confirmed": "yes"}
    for selected in (str(operation.pk), str(uuid4()), "x"):
        response = admin_client.post(LIST, {**data, "_selected_action": selected}, follow=True)
        assert response.status_code == 200
        assert english(response.content.decode()) == []


def test_command__for_a_kind_that_is_unknown_is_refused_in_german(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.FAILED)
    Operation.objects.update(kind="tests.unknown")
    url = reverse("admin:async_reply_operation_rerun_from", args=[operation.pk, 7])
    for refused in (button(operation, "rerun"), url):
        response = admin_client.post(refused, {"confirmed": "yes"}, follow=True)
        [message] = messages(response)
        assert "unverändert" in message
        assert english(response.content.decode()) == []


def test_bulk__is_submitted_and_fails_in_german(
    submit: Callable[..., Operation], admin_client: Client, admin_user: Any
) -> None:
    submit()
    url = f"{LIST}bulk/cancel/?owner=ada"
    response = admin_client.post(url, {"confirmed": "yes"}, follow=True)
    assert english(response.content.decode()) == []
    Operation.objects.filter(owner="ada").delete()
    type(admin_user).objects.update(is_superuser=False)
    run_operations()
    type(admin_user).objects.update(is_superuser=True)
    bulk = Operation.objects.get()
    assert bulk.status == Status.FAILED
    assert english(read(admin_client, page(bulk))) == []
    assert english(read(admin_client, LIST)) == []


PENDING: dict[str, dict[str, Any]] = {
    "unknown kind": {"kind": "tests.unknown"},
    "later": {"available_at": timezone.now() + timedelta(hours=1)},
    "unpublished": {"published_at": None},
    "no worker": {"queue": "gpu"},
    "retried": {"attempt": 1, "retries": 1},
    "lost": {"attempt": 1, "losses": 1},
    "released": {"attempt": 3, "idle_releases": 3},
}


@pytest.mark.parametrize("columns", PENDING.values(), ids=PENDING.keys())
def test_page__says_in_german_why_an_operation_waits(
    submit: Callable[..., Operation], admin_client: Client, columns: dict[str, Any]
) -> None:
    operation = submit()
    scenes.worker("celery@web-1", "celery", boot_id="aaaa")
    Operation.objects.filter(pk=operation.pk).update(**columns)
    assert english(read(admin_client, page(operation))) == []


def test_page__of_steps_and_a_question_has_no_english_sentence(admin_client: Client) -> None:
    operation = services.submit(approve, owner="ada")
    run_operations()
    url = reverse("admin:async_reply_operation_answer", args=[operation.pk, "approve"])
    own = {"For the sender.", "May the invoice be paid?"}  # texts of the project
    assert set(english(read(admin_client, page(operation)))) == own
    for data in ({"approved": "perhaps"}, {"approved": "true"}, {"approved": "false"}):
        response = admin_client.post(url, data, follow=True)
        assert set(english(response.content.decode())) <= own
    [message] = messages(response)
    assert "unverändert" in message
