"""The parts of an operation's page: texts, JSON values, the timeline, the log."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_reply.admin import panels
from async_reply.models import Operation, OperationAttempt, ProcessCommand
from async_reply.status import Status

OUTCOME = OperationAttempt.Outcome.RETRY


def test_text__says_how_much_of_a_long_text_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "MAX_CHARACTERS", 1_000)
    long = "<" + "a" * 1_200 + ">"
    start, end = panels.text(long), panels.text(long, from_end=True)
    assert "the first 1,000 of 1,202 characters" in start
    assert f"&lt;{'a' * 999}</pre>" in start
    assert "the last 1,000 of 1,202 characters" in end
    assert f">{'a' * 999}&gt;</pre>" in end


def test_text__shows_a_short_text_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "MAX_CHARACTERS", 3)
    assert panels.text("abc").strip() == '<pre class="async-reply-text" tabindex="0">abc</pre>'


def test_document__is_indented_and_keeps_umlauts() -> None:
    assert "{\n  &quot;größe&quot;: [\n    1\n  ]\n}" in panels.document({"größe": [1]})


def test_timeline__shows_only_the_last_of_many(
    submit: Callable[..., Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "MAX_ROWS", 2)
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(operation=operation, number=number, outcome=OUTCOME)
    operation.refresh_from_db()
    html = panels.timeline(operation, commands=[], with_payload=True)
    assert [f"Attempt {number}:" in html for number in (1, 2, 3)] == [False, True, True]
    assert html.index("Attempt 2:") < html.index("Attempt 3:")
    assert "The page shows the last 2 that did not end well." in html


@pytest.mark.parametrize("with_payload", [True, False])
def test_timeline__reads_messages_and_tracebacks_only_for_those_who_may_see_them(
    submit: Callable[..., Operation], with_payload: bool
) -> None:
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(
            operation=operation,
            number=number,
            outcome=OUTCOME,
            exception="builtins.KeyError",
            message="no such <year>",
            traceback="Traceback: secret",
        )
    operation.refresh_from_db()
    with CaptureQueriesContext(connection) as captured:
        html = panels.timeline(operation, commands=[], with_payload=with_payload)
    assert html.count("builtins.KeyError") == 3
    assert ("Traceback: secret" in html, "no such &lt;year&gt;" in html) == (with_payload,) * 2
    for column in map(connection.ops.quote_name, ("traceback", "message")):
        assert [column in query["sql"] for query in captured] == [with_payload]


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ({"attempt": 1, "answered_at": timezone.now(), "answer": "in <job>"}, "in &lt;job&gt;"),
        ({"attempt": 1, "answered_at": timezone.now()}, "The job was not running"),
        ({"attempt": 1}, "has not answered yet"),
        ({"attempt": 2, "answer": "in <job>"}, ""),
        ({"attempt": 1, "answer": "in <job>", "name": "end"}, ""),
    ],
)
def test_stack__is_that_of_the_running_attempt(command: dict[str, Any], part: str) -> None:
    values = {"name": "show stack", "given_at": timezone.now(), **command}
    commands = [ProcessCommand(**values)]
    html = panels.stack(Operation(status=Status.RUNNING, attempt=1), commands=commands)
    assert part in html if part else html == ""
    assert panels.stack(Operation(status=Status.SUCCEEDED, attempt=1), commands=commands) == ""


def test_log__says_who_did_what(
    submit: Callable[..., Operation], admin_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "MAX_ENTRIES", 2)
    operation, other = submit(), submit()
    assert "No operator has done anything" in panels.log(operation)
    for pk, text in ((operation.pk, "<First>"), (operation.pk, "<b>"), (other.pk, "Other")):
        LogEntry.objects.log_actions(
            admin_user.pk,
            Operation.objects.filter(pk=pk),
            CHANGE,
            change_message=text,
            single_object=True,
        )
    html = panels.log(operation)
    assert html.index("admin: &lt;b&gt;") < html.index("admin: &lt;First&gt;")
    assert ("Other" in html, "There is more" in html) == (False, False)
    monkeypatch.setattr(panels, "MAX_ENTRIES", 1)
    html = panels.log(operation)
    assert ("First" in html, "There is more" in html) == (False, True)
