"""The event log on an operation's page."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils.html import strip_tags
from pytest_django import Settings

from async_reply.admin import event_log
from async_reply.models import Operation, OperationEvents
from async_reply.status import Status
from tests.admin.conftest import page

AT = datetime(2026, 3, 1, 22, 30, 5, tzinfo=UTC)

#: An event of the log without its number: its name, and its data.
Content = tuple[str, Any]


def line(text: str, *, level: str = "INFO") -> Content:
    return "log", {"level": level, "text": text}


def store(
    operation: Operation, *contents: Content, first: int = 1, private: bool = False, **columns: Any
) -> OperationEvents:
    """Store a row with these events, as the job would, and count them in the operation's row."""
    events = [
        {"id": number, "event": name, "at": AT.isoformat(), "data": data}
        | ({"private": True} if private else {})
        for number, (name, data) in enumerate(contents, first)
    ]
    text, last = json.dumps(events), first + len(contents) - 1
    columns = {"attempt": 1, "size": len(text)} | columns
    row: OperationEvents = OperationEvents.objects.create(
        operation=operation, first=first, last=last, events=text, **columns
    )
    Operation.objects.filter(pk=operation.pk).update(events=last)
    operation.events = last
    return row


def rows_of(html: str) -> list[list[str]]:
    """The texts of the cells of each row of the panel's table, without the time."""
    _head, _tag, body = html.partition("<tbody>")
    rows = [re.findall(r"<t[dh].*?</t[dh]>", row) for row in body.split("<tr")[1:]]
    return [[unescape(strip_tags(cell)) for cell in row if "<time" not in cell] for row in rows]


@pytest.fixture
def operation(in_status: Callable[..., Operation]) -> Operation:
    ContentType.objects.clear_cache()
    ContentType.objects.get_for_model(Operation)  # Django reads it once for a process
    return in_status(Status.RUNNING)


def test_page__shows_the_newest_event_first(operation: Operation, admin_client: Client) -> None:
    store(operation, line("<b>First</b>"), ("page", {"n": 1}))
    store(operation, line("Low on paper", level="WARNING"), first=3, attempt=2)
    text = admin_client.get(page(operation)).content.decode()
    panel = text[text.index('id="async-reply-events"') :].partition("</table>")[0]
    assert rows_of(panel) == [
        ["3", "2", "WARNING", "Low on paper"],
        ["2", "1", "page", '{"n": 1}'],
        ["1", "1", "INFO", "<b>First</b>"],
    ]


def test_page__shows_void_and_private_events_as_such(operation: Operation) -> None:
    store(operation, line("Begun"), is_void=True)
    store(operation, ("reset", {"after": 0}), first=2)
    store(operation, line("Only for operators"), first=3, private=True)
    assert rows_of(event_log.panel(operation)) == [
        ["3", "1", "INFO private", "Only for operators"],
        ["2", "1", "reset", "The events after number 0 are void."],
        ["1", "1", "INFO void", "Begun"],
    ]


def test_page__folds_a_long_value_and_cuts_a_longer_one(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_CHARACTERS", 300)
    store(operation, ("rows", list("ä" * 40)), ("short", "ä"), ("text", "x" * 400))
    cut, short, folded = event_log.panel(operation).partition("<tbody>")[2].split("<tr")[1:]
    assert "<details>" not in short
    assert "ä" in short
    assert "<details>" in folded
    assert folded.count("ä") > 40
    assert f"&quot;{'x' * 299}…" in cut


def test_page__says_how_many_events_it_shows(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_EVENTS", 3)
    store(operation, *(line(f"Line {number}") for number in range(1, 4)))
    assert "The page shows" not in event_log.panel(operation)
    store(operation, line("Line 4"), line("Line 5"), first=4)
    html = event_log.panel(operation)
    assert "The page shows the newest 3 events." in html
    assert [f"Line {n}" in html for n in range(1, 6)] == [False, False, True, True, True]


def test_page__reads_no_more_bytes_than_it_may(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [store(operation, line(f"Line {number}"), first=number) for number in (1, 2, 3)]
    for fitting in (1, 2):
        monkeypatch.setattr(event_log, "MAX_BYTES", fitting * rows[0].size + 1)
        assert len(rows_of(event_log.panel(operation))) == fitting
    monkeypatch.setattr(event_log, "MAX_BYTES", 1)
    assert len(rows_of(event_log.panel(operation))) == 1


def test_page__says_where_events_were_removed(operation: Operation) -> None:
    store(operation, ("begun", None), first=1)
    store(operation, ("ended", None), first=5)
    assert rows_of(event_log.panel(operation)) == [
        ["5", "1", "ended", "null"],
        ["3 events were removed here, since the log is too long."],
        ["1", "1", "begun", "null"],
    ]


def test_page__shows_times_in_the_zone_of_the_operator(
    operation: Operation, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    store(operation, line("Begun"))
    assert "2026-03-02 07:30:05" in event_log.panel(operation)


def test_page__reads_events_only_if_there_are_any_and_for_those_who_may_see_them(
    operation: Operation,
    admin_client: Client,
    staff_client: Callable[..., Client],
    django_assert_num_queries: Any,
) -> None:
    def statements_on_events(client: Client) -> int:
        with django_assert_num_queries(count[client]) as captured:
            text = client.get(page(operation)).content.decode()
        assert ("async-reply-events" in text) == ("Begun" in text) == (expected > 0)
        return sum("operationevents" in query["sql"] for query in captured)

    staff = staff_client("view_operation")
    count, expected = {admin_client: 9, staff: 9}, 0
    assert statements_on_events(admin_client) == 0
    store(operation, line("Begun"))
    assert statements_on_events(staff) == 0
    # The sizes of the rows, and the rows that fit.
    count[admin_client], expected = 9 + 2, 2
    assert statements_on_events(admin_client) == 2


def test_page__of_an_operation_whose_events_were_deleted_shows_none(operation: Operation) -> None:
    store(operation, line("Begun")).delete()
    assert event_log.panel(operation) == ""
