"""Different texts are different to each database: no owner sees the operations of another."""

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models

from async_reply import services
from async_reply.exceptions import QuotaExceeded
from async_reply.models import KindStatistics, Operation, OperationFile, Worker
from async_reply.querysets import PrimaryManager
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

#: Texts that MariaDB's collations may take as equal to 'ada': by case, accents, blanks.
OTHERS = ["Ada", "ádá", "ada ", " ada"]


@pytest.mark.parametrize("other", OTHERS)
def test_owner__has_its_own_operations_only(other: str) -> None:
    mine = services.submit(echo, owner="ada")
    services.submit(echo, owner=other)
    assert list(Operation.objects.filter(owner="ada")) == [mine]
    assert list(Operation.objects.unfinished().filter(owner__in=["ada"])) == [mine]


@pytest.mark.parametrize("other", OTHERS)
def test_owner__has_its_own_quota(settings: Any, other: str) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(echo, owner="ada")
    Quota(other, view="").is_near()
    with pytest.raises(QuotaExceeded):
        Quota("ada", view="").is_near()


def test_idempotency_digest__is_compared_exactly() -> None:
    first = services.submit(echo, key=IdempotencyKey("a" * 64, "f" * 64))
    second = services.submit(echo, key=IdempotencyKey("A" * 64, "f" * 64))
    assert first != second
    assert services.submit(echo, key=IdempotencyKey("a" * 64, "f" * 64)) == first


@pytest.mark.parametrize("other", OTHERS)
def test_names__are_compared_exactly(other: str) -> None:
    operation = services.submit(echo)
    for name in ("ada", other):
        Worker.objects.create(name=name)
        KindStatistics.objects.create(kind=name, span="day", start=operation.created_at)
        OperationFile.objects.create(operation=operation, file=name, name=name, size=0)
    for rows in (
        Worker.objects.filter(name="ada"),
        KindStatistics.objects.filter(kind="ada"),
        OperationFile.objects.filter(file="ada"),
        OperationFile.objects.filter(name="ada"),
    ):
        assert rows.count() == 1


@pytest.mark.skipif(connection.vendor != "mysql", reason="elsewhere all text is exact")
def test_columns__are_exact_under_any_default_of_the_database() -> None:
    expected = {
        (model._meta.db_table, field.column)
        for model in apps.get_models()
        if model.__module__.startswith("async_reply.")
        for field in model._meta.concrete_fields
        if isinstance(field, models.CharField | models.TextField | models.FileField)
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND collation_name = 'utf8mb4_nopad_bin'"
        )
        assert set(cursor.fetchall()) == expected


@pytest.mark.parametrize("model", list(apps.get_app_config("async_reply").get_models()))
def test_model__is_read_from_the_database_that_is_written(model: type[models.Model]) -> None:
    """The base manager refreshes rows and follows foreign keys."""
    for manager in (model._default_manager, model._base_manager):
        assert isinstance(manager, PrimaryManager)
