from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from async_reply.admin import panels
from async_reply.models import Operation, OperationAttempt

OUTCOME = OperationAttempt.Outcome.RETRY


def test_text__says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "SHOWN", 1_000)
    long = "<" + "a" * 1_200 + ">"
    head, tail = panels.text(long), panels.text(long, tail=True)
    assert "the first 1,000 of 1,202 characters" in head
    assert f"&lt;{'a' * 999}</pre>" in head
    assert "the last 1,000 of 1,202 characters" in tail
    assert f">{'a' * 999}&gt;</pre>" in tail


def test_text__shows_a_short_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "SHOWN", 3)
    assert panels.text("abc").strip() == '<pre class="async-reply-text">abc</pre>'


def test_document__is_indented_and_readable() -> None:
    assert "{\n  &quot;größe&quot;: [\n    1\n  ]\n}" in panels.document({"größe": [1]})


def test_attempts__shows_the_last_of_many(
    submit: Callable[..., Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "ROWS", 2)
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(operation=operation, number=number, outcome=OUTCOME)
    html = str(panels.attempts(operation, tracebacks=True))
    assert [f"<td>{number}</td>" in html for number in (1, 2, 3)] == [False, True, True]
    assert "the last 2 are shown" in html


def test_attempts__does_not_read_tracebacks_that_it_does_not_show(
    submit: Callable[..., Operation],
) -> None:
    operation = submit()
    for number in (1, 2, 3):
        OperationAttempt.objects.create(
            operation=operation, number=number, outcome=OUTCOME, traceback="Traceback: secret"
        )
    with CaptureQueriesContext(connection) as captured:
        html = str(panels.attempts(operation, tracebacks=False))
    assert "secret" not in html
    assert ['"traceback"' in query["sql"] for query in captured] == [False]
