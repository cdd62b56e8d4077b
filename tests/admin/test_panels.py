"""The parts of an operation's page: texts, JSON values, attempts."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from async_reply.admin import panels
from async_reply.models import Operation, OperationAttempt

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
    assert panels.text("abc").strip() == '<pre class="async-reply-text">abc</pre>'


def test_document__is_indented_and_keeps_umlauts() -> None:
    assert "{\n  &quot;größe&quot;: [\n    1\n  ]\n}" in panels.document({"größe": [1]})


def test_attempts__shows_only_the_last_of_many(
    submit: Callable[..., Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "MAX_ROWS", 2)
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(operation=operation, number=number, outcome=OUTCOME)
    html = str(panels.attempts(operation, with_tracebacks=True))
    assert [f"<td>{number}</td>" in html for number in (1, 2, 3)] == [False, True, True]
    assert "The table shows the last 2." in html


def test_attempts__reads_no_tracebacks_if_it_shows_none(
    submit: Callable[..., Operation],
) -> None:
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(
            operation=operation, number=number, outcome=OUTCOME, traceback="Traceback: secret"
        )
    with CaptureQueriesContext(connection) as captured:
        html = str(panels.attempts(operation, with_tracebacks=False))
    assert "secret" not in html
    assert ['"traceback"' in query["sql"] for query in captured] == [False]
