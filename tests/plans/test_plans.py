"""Each query that a growing table could slow down reads its rows by an index."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from async_reply.attempts import giving_up, rescue
from async_reply.estimates import backlogs, histories
from async_reply.models import Operation
from async_reply.publishing import queues, relay, routing
from async_reply.services import retention
from async_reply.services.idempotency import IdempotencyKey
from async_reply.services.quotas import Quota
from async_reply.statistics import backlog, kinds, rollup, workers
from async_reply.status import Status
from tests.plans import filling
from tests.plans.explaining import PRIMARY, plans_of

pytestmark = [pytest.mark.plans, pytest.mark.django_db]

GIVE_UP = "async_reply_op_give_up"
DUE, PURGE, STATUS = "async_reply_op_due", "async_reply_op_purge", "async_reply_op_status"
OWNER, OWNER_STATUS = "async_reply_op_owner", "async_reply_op_owner_status"
OWNER_KIND, IDEMPOTENCY = "async_reply_op_owner_kind", "async_reply_op_idempotency"

KIND, KIND_FINISHED = "async_reply_op_kind", "async_reply_op_kind_finished"

#: The most rows that may be sorted: those of a backlog, not those of the table.
BACKLOG = 5_000
#: The same for the relay's reads, which come every few seconds and must not sort a backlog.
RUNNING = 200


@pytest.fixture
def owner() -> APIClient:
    """A client of the owner of a thousand operations."""
    client = APIClient()
    client.force_authenticate(get_user_model()(pk=filling.OWNER))
    return client


def test_filling__is_realistic() -> None:
    """Each query finds rows. A plan of a query that finds none would prove little."""
    assert Operation.objects.count() == filling.ROWS
    assert Operation.objects.due().unpublished().count() == 100
    assert Operation.objects.due().count() == 2_000
    assert 0 < Operation.objects.lost().count() < Operation.objects.active().count() == 100
    assert 0 < Operation.objects.expired().count() < 1_000
    assert Operation.objects.filter(owner=filling.OWNER).count() > 900


@pytest.mark.parametrize("count", [0, 10_000], ids=["missing", "overtaken"])
def test_relay(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay reads a limited part of a backlog: the oldest rows, and those of each kind."""
    monkeypatch.setattr("async_reply.publishing.broker.count", lambda queue: count)
    reads = [
        plan
        for function in (relay.publish_due, relay.republish_lost, queues.unserved)
        for plan in plans_of(function)
        if plan.sql.startswith("SELECT") and "async_reply_worker" not in plan.sql
    ]
    # One statement reads several kinds.
    assert sum(plan.sql.count(" AS kind_") for plan in reads) >= 2 * len(routing.kinds())
    for plan in reads:
        assert plan.indexes <= {DUE, STATUS, KIND, KIND_FINISHED}, plan
        assert plan.sorts <= RUNNING, plan


@pytest.mark.parametrize(
    ("function", "index"),
    [
        (relay.publish_due, {DUE}),
        (rescue.rescue, {STATUS}),
        (giving_up.give_up, {GIVE_UP}),
        (retention.purge, {PURGE}),
        (lambda: Quota(filling.OWNER, view="").is_near(), {OWNER_STATUS}),
        (lambda: Quota("7", view="").is_near(), {OWNER_STATUS}),
        (IdempotencyKey(digest="3", fingerprint="").find, {IDEMPOTENCY}),
    ],
    ids=["relay", "rescue", "give up", "purge", "quota", "small quota", "idempotency"],
)
def test_read(settings: Any, function: Callable[[], Any], index: set[str]) -> None:
    settings.ASYNC_REPLY = {}
    first, *others = plans_of(function)
    assert len(first.indexes) == 1
    assert first.indexes <= index, first
    assert all(None not in plan.indexes for plan in others), others


def test_figures() -> None:
    """Operators' figures read what waits and runs, and what finished in the last days."""
    for function in (backlog.read, backlog.unpublished, workers.living):
        for plan in plans_of(function):
            assert plan.indexes <= {DUE, STATUS}, plan
            assert plan.sorts <= BACKLOG, plan
    while not rollup.roll_up():
        pass
    assert sum(figures.finished for figures in kinds.ever().values()) == filling.ROWS - 2_100
    for plan in plans_of(rollup.roll_up):
        assert plan.indexes <= {KIND, KIND_FINISHED}, plan


def page(pk: UUID) -> str:
    return b64encode(urlencode({"p": str(pk)}).encode()).decode()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, {OWNER}),
        ({"status": "succeeded"}, {OWNER, OWNER_STATUS}),
        ({"status": "failed"}, {OWNER_STATUS}),
        ({"status": "running"}, {OWNER_STATUS, STATUS}),
        ({"status": "pending"}, {OWNER_STATUS, STATUS}),
        ({"kind": "tests.export"}, {OWNER, OWNER_KIND}),
        ({"kind": "tests.rare"}, {OWNER_KIND}),
        ({"kind": "tests.rare", "status": "failed"}, {OWNER_KIND, OWNER_STATUS}),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("deep", [False, True], ids=["first", "deep"])
def test_list(owner: APIClient, query: dict[str, str], index: set[str], deep: bool) -> None:
    pk = Operation.objects.order_by("pk")[filling.ROWS // 3].pk
    query = query | ({"cursor": page(pk)} if deep else {})
    # The later plans belong to estimates, which are read once in some seconds: test_estimates.
    plan, *_ = plans_of(lambda: owner.get("/api/operations/", query))
    assert plan.indexes <= index, plan
    assert plan.sorts <= BACKLOG, plan


def test_estimates() -> None:
    """A poll reads a limited number of rows once in some seconds, in the order of an index."""
    (history,) = plans_of(lambda: histories.durations("tests.export"))
    assert history.indexes <= {KIND_FINISHED}, history
    assert history.sorts == 0, history
    waiting, running = plans_of(lambda: backlogs.position(Operation(kind="tests.export")))
    assert waiting.indexes <= {DUE, STATUS}, waiting
    assert waiting.sorts <= BACKLOG, waiting
    assert running.indexes <= {STATUS}, running


@pytest.mark.parametrize("suffix", ["", "monitor/", "result/"])
def test_poll(owner: APIClient, suffix: str) -> None:
    failed = Operation.objects.filter(owner=filling.OWNER, status=Status.FAILED, deleted_at=None)
    pk = failed[0].pk
    for plan in plans_of(lambda: owner.get(f"/api/operations/{pk}/{suffix}")):
        assert plan.indexes <= {PRIMARY, OWNER}, plan
