"""Operations whose version has changed are found by one statement."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from pytest_django import DjangoAssertNumQueries

from async_reply import lifecycle
from async_reply.models import Operation
from async_reply.waiting import versions
from async_reply.waiting.versions import Seen
from tests.concurrency import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

Submit = Callable[..., Operation]


def cancel_elsewhere(operation: Operation) -> None:
    """Cancel it over another connection."""
    with in_thread(lambda: lifecycle.cancel(operation)) as canceled:
        canceled.result()


def test_changed__finds_other_versions_and_deleted_rows(submit: Submit) -> None:
    same, changed, deleted = submit(), submit(), submit()
    seen = Seen({operation.pk: operation.version for operation in (same, changed, deleted)})
    cancel_elsewhere(changed)
    Operation.objects.filter(pk=deleted.pk).delete()
    assert versions.changed(seen) == {changed.pk, deleted.pk}


def test_changed__is_one_statement(
    submit: Submit, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    seen = Seen({operation.pk: operation.version for operation in (submit(), submit(), submit())})
    for _ in range(2):
        with django_assert_num_queries(1):
            assert versions.changed(seen) == set()


def test_changed__finds_each_change_after_looks_that_found_none(submit: Submit) -> None:
    operation = submit()
    seen = Seen({operation.pk: operation.version})
    assert [versions.changed(seen) for _ in range(2)] == [set(), set()]
    cancel_elsewhere(operation)
    assert [versions.changed(seen) for _ in range(2)] == [{operation.pk}, {operation.pk}]


def test_changed__finds_a_change_once_it_is_committed(submit: Submit) -> None:
    operation = submit()
    seen = Seen({operation.pk: operation.version})
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            lifecycle.cancel(operation)
            before = [thread.submit(versions.changed, seen).result() for _ in range(2)]
        after = thread.submit(versions.changed, seen).result()
        thread.submit(connections.close_all)
    assert [*before, after] == [set(), set(), {operation.pk}]


@pytest.mark.skipif(connections["default"].vendor != "postgresql", reason="needs PostgreSQL")
def test_changed__on_postgresql_takes_the_text_of_arrays_too(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg2 has no binary format."""
    same, changed = submit(), submit()
    seen = Seen({operation.pk: operation.version for operation in (same, changed)})
    cancel_elsewhere(changed)
    monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", False)
    assert versions.changed(seen) == {changed.pk}


def test_changed__finds_one_among_many(submit: Submit) -> None:
    changed = submit()
    others = Operation.objects.bulk_create([Operation(kind="k") for _ in range(1200)])
    seen = Seen({operation.pk: operation.version for operation in (*others, changed)})
    cancel_elsewhere(changed)
    assert versions.changed(seen) == {changed.pk}
