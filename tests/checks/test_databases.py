"""Checks of the operations' database. Some of them ask the server."""

from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from async_reply.checks import databases
from tests.checks.messages import ids


@pytest.mark.parametrize(
    ("zone", "use_tz", "expected"),
    [
        ("Asia/Kolkata", True, []),
        ("UTC", False, []),
        ("Asia/Kolkata", False, ["async_reply.W122"]),
        # Its offset is zero in winter only.
        ("Europe/London", False, ["async_reply.W122"]),
        ("Etc/UTC", False, []),
        ("GMT", False, []),
    ],
)
def test_time_zone__of_the_project_without_use_tz(
    settings: Settings, zone: str, use_tz: bool, expected: list[str]
) -> None:
    settings.TIME_ZONE, settings.USE_TZ = zone, use_tz
    assert ids() == ([] if connection.vendor == "postgresql" else expected)


@pytest.mark.parametrize(
    ("zone", "expected"), [("America/New_York", ["async_reply.W122"]), ("UTC", []), (None, [])]
)
def test_time_zone__of_the_database(
    monkeypatch: pytest.MonkeyPatch, zone: str | None, expected: list[str]
) -> None:
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    monkeypatch.setattr(connection, "timezone_name", zone or "UTC")
    assert ids() == ([] if connection.vendor == "postgresql" else expected)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("read committed", []),
        ("READ COMMITTED", []),
        ("repeatable read", ["async_reply.W120"]),
        (None, ["async_reply.W120"]),
    ],
)
def test_isolation__of_mariadb(
    level: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "isolation_level": level}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ids() == (expected if connection.vendor == "mysql" else [])


@pytest.mark.django_db
def test_order_of_ids__is_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(databases=["default"]) == []
    # Any MariaDB sorts UUIDs of version 1 by their last part.
    swapped = [text.replace("-7", "-1") for text in databases.IDS_IN_ORDER]
    monkeypatch.setattr(databases, "IDS_IN_ORDER", swapped)
    expected = ["async_reply.W121"] if connection.vendor == "mysql" else []
    assert ids(databases=["default"]) == expected
    assert ids() == []


@pytest.mark.parametrize(
    ("changed", "vendors"),
    [
        ({"AUTOCOMMIT": False}, {"sqlite", "postgresql", "mysql"}),
        ({"AUTOCOMMIT": True}, set()),
        ({"OPTIONS": {"autocommit": False, "transaction_mode": "IMMEDIATE"}}, {"sqlite"}),
        ({"ATOMIC_REQUESTS": True}, set()),
    ],
    ids=["off", "on", "off in options", "atomic requests"],
)
def test_autocommit__turned_off_in_settings(
    changed: dict[str, Any], vendors: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    assert ids() == (["async_reply.E037"] if connection.vendor in vendors else [])


def turn_off_autocommit(opened: Any) -> None:
    """Turn autocommit off, as a receiver of connection_created or an init_command may do."""
    if opened.vendor == "postgresql":
        opened.connection.autocommit = False
    else:
        with opened.cursor() as cursor:
            cursor.execute({"mysql": "SET autocommit = 0", "sqlite": "BEGIN"}[opened.vendor])


@pytest.mark.django_db(transaction=True)
def test_autocommit__turned_off_in_a_session() -> None:
    assert ids(databases=["default"]) == []
    try:
        turn_off_autocommit(connection)
        assert ids(databases=["default"]) == ["async_reply.E038"]
    finally:
        connection.close()
    assert ids(databases=["default"]) == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="is no server")
@pytest.mark.django_db(transaction=True)
def test_durability__commit_before_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
    else:
        # The setting belongs to the whole server, so the expected answer is changed instead.
        answers = {"mysql": ("SELECT @@innodb_flush_log_at_trx_commit", "1")}
        monkeypatch.setattr(databases, "DURABILITY", answers)
    assert ids(databases=["default"]) == ["async_reply.W127"]
    connection.close()


@pytest.mark.skipif(connection.vendor != "mysql", reason="all tables have transactions")
@pytest.mark.django_db(transaction=True)
def test_engine__without_transactions() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE async_reply_tests (a int) ENGINE = Aria")
        try:
            assert ids(databases=["default"]) == ["async_reply.W128"]
        finally:
            cursor.execute("DROP TABLE async_reply_tests")
