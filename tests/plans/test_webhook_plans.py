"""The net and the reads of due deliveries use their indexes, however many deliveries there are.

PostgreSQL and SQLite have partial indexes: of the open deliveries alone. MariaDB has the same
indexes of all deliveries, and reads the open ones by their first column.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra webhooks")
pytest.importorskip("httpcore", reason="needs the extra webhooks")
pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from async_reply.contrib.webhooks import deliveries, duties, events, tasks
from async_reply.contrib.webhooks.models import Delivery
from async_reply.models import Turn
from tests.plans import filling
from tests.plans.explaining import OPERATIONS, PRIMARY, Plan, Table, explained
from tests.plans.filling import ago

pytestmark = [pytest.mark.plans, pytest.mark.django_db]

DELIVERIES = Table(Delivery._meta.db_table, "async_reply_delivery_")
DUE, OPEN = "async_reply_delivery_due", "async_reply_delivery_open"
ENDED = "async_reply_delivery_ended"

#: Three of ten are open. Most of them wait for their operation to expire.
IS_OPEN = "n %% 10 < 3"
IS_DUE, IS_LATER, IS_LEASED = "n %% 2000 = 0", "n %% 100 = 1", "n %% 2000 = 2"
COLUMNS = {
    **{name: filling.COLUMNS[name] for name in ("id", "kind", "owner", "created_at")},
    "operation": filling.COLUMNS["id"],
    "host": "CASE WHEN n %% 3 = 0 THEN 'one.example' ELSE 'two.example' END",
    "state": f"CASE WHEN {IS_OPEN} THEN 'open' ELSE 'delivered' END",
    "ended_at": f"CASE WHEN {IS_OPEN} THEN NULL ELSE {ago('n')} END",
    "event": f"'{events.OUTCOMES['succeeded']}'",
    "outcomes": "'[\"operation.succeeded\"]'",
    "due_at": f"CASE WHEN {IS_DUE} THEN {ago('n')} WHEN {IS_LATER} OR {IS_LEASED} "
    f"THEN {ago('-3600')} END",
    "lease_expires_at": f"CASE WHEN {IS_LEASED} THEN {ago('-3600')} END",
    "is_told": f"NOT ({IS_DUE} OR {IS_LATER} OR {IS_LEASED})",
    **dict.fromkeys(("has_outcome", "wants_expired"), "TRUE"),
    **dict.fromkeys(("whole", "wants_started", "wants_input"), "FALSE"),
    **dict.fromkeys(("url", "base_url", "body"), "''"),
    **dict.fromkeys(("number", "tries", "claims"), "0"),
}


@pytest.fixture(scope="module", autouse=True)
def _filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        filling.fill()
        filling.insert(DELIVERIES.name, COLUMNS)
        yield
        filling.clear()
        filling.clear("async_reply_webhooks")


@pytest.fixture(autouse=True)
def _not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "publish", lambda: True)


def plans_of(function: Callable[[], Any], table: Table = DELIVERIES) -> list[Plan]:
    with explained(table) as plans:
        function()
    assert plans
    return plans


def test_filling__is_realistic() -> None:
    is_open = Delivery.objects.filter(state=Delivery.State.OPEN)
    assert (Delivery.objects.count(), is_open.count()) == (filling.ROWS, filling.ROWS * 3 // 10)
    assert deliveries.due().count() == 100
    assert is_open.filter(due_at=None).count() > 50_000


def test_due_deliveries() -> None:
    """They are sorted by host, and so are only those that are due."""
    for function in (duties.start_due, lambda: deliveries.claim_due(20)):
        for plan in plans_of(function, DELIVERIES._replace(alias="U0")):
            assert plan.indexes <= {DUE, PRIMARY}, plan


def test_net() -> None:
    """Each turn reads its rows in the order of the index, and their operations by key."""
    Turn.objects.create(duty=duties.NET, due_at="2026-01-01T00:00:00Z")
    for _ in range(3):
        for plan in plans_of(duties.cast_net):
            assert plan.indexes <= {OPEN, PRIMARY}, plan
            assert plan.sorts == 0, plan
        assert Turn.objects.get(duty=duties.NET).findings["after"]
    for plan in plans_of(duties.cast_net, OPERATIONS._replace(alias="U0")):
        assert plan.indexes <= {PRIMARY}, plan


def test_purge() -> None:
    first, *_ = plans_of(duties.purge)
    assert first.indexes == {ENDED}, first
