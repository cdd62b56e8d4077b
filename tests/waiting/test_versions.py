"""Which operations have moved on, and what asking for it costs while nothing is written."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.waiting import versions
from async_reply.waiting.versions import UNWRITTEN, Lookout
from tests.concurrency import in_thread, until

pytestmark = pytest.mark.django_db(transaction=True)

Submit = Callable[..., Operation]


def cancel(pk: UUID) -> None:
    """In another connection, as a thread has."""
    operation = Operation.objects.get(pk=pk)
    with in_thread(lambda: lifecycle.cancel(operation)) as done:
        done.result()


def statements(lookout: Lookout, known: dict[UUID, int]) -> int:
    with CaptureQueriesContext(connection) as made:
        assert lookout.moved(known) == set()
    return len(made)


def test_moved__those_with_another_version_and_those_that_are_gone(submit: Submit) -> None:
    same, changed, gone = submit(), submit(), submit()
    known = {each.pk: each.version for each in (same, changed, gone)}
    cancel(changed.pk)
    Operation.objects.filter(pk=gone.pk).delete()
    assert Lookout().moved(known) == {changed.pk, gone.pk}


def test_moved__costs_a_word_while_nothing_is_written(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "TRUST", 600.0)
    operation = submit()
    known = {operation.pk: operation.version}
    lookout = Lookout()
    tells = connection.vendor in UNWRITTEN
    assert statements(lookout, known) == 1 + tells
    # Of PostgreSQL's other databases each write is one as well.
    until(lambda: statements(lookout, known) == 1)
    if tells:
        assert statements(lookout, dict(known)) == 2


def test_moved__sees_what_is_written_after_calm(submit: Submit) -> None:
    operation = submit()
    known = {operation.pk: operation.version}
    lookout = Lookout()
    assert [lookout.moved(known) for _ in range(2)] == [set(), set()]
    cancel(operation.pk)
    assert [lookout.moved(known) for _ in range(2)] == [{operation.pk}, {operation.pk}]


def test_moved__does_not_take_the_word_for_ever(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that speaks PostgreSQL's protocol may say the same whatever is written."""
    monkeypatch.setattr(versions, "TRUST", 0.3)
    monkeypatch.setattr(versions, "_unwritten", lambda: ("connection", ("1:1:",)))
    operation = submit()
    known = {operation.pk: operation.version}
    lookout = Lookout()
    assert lookout.moved(known) == set()
    cancel(operation.pk)
    until(lambda: lookout.moved(known) == {operation.pk})


def test_moved__sees_what_was_under_way_at_the_last_look(submit: Submit) -> None:
    operation = submit()
    known = {operation.pk: operation.version}
    lookout = Lookout()
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            lifecycle.cancel(Operation.objects.get())
            early = [thread.submit(lookout.moved, known).result() for _ in range(2)]
        late = thread.submit(lookout.moved, known).result()
        thread.submit(connections.close_all)
    assert [*early, late] == [set(), set(), {operation.pk}]


def test_moved__looks_anew_over_a_new_connection(submit: Submit) -> None:
    operation = submit()
    known = {operation.pk: operation.version}
    lookout = Lookout()
    lookout.moved(known)
    connection.close()
    cancel(operation.pk)
    assert lookout.moved(known) == {operation.pk}
