"""The rows as the interpreter computes them, beside a real database and a broken broker.

Each statement of `lifecycle` runs in both. Interpreter and database have to agree.
"""

import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from typing import Any
from unittest import mock
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.models import Count

from async_reply import lifecycle
from async_reply.attempts import finishing, outages
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation
from async_reply.publishing import broker, queues
from async_reply.status import ACTIVE, FINAL
from tests.lifecycle import interpreter
from tests.lifecycle.interpreter import LONG, Time
from tests.lifecycle.rules import Violation, check_change, check_row, require

Values = dict[str, Any]


class World:
    """The expected rows, the attempts that hold them, and the messages in the broker."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Values] = {}
        self.holders: dict[UUID, int] = {}
        self.claims: dict[UUID, int] = {}
        self.runs: dict[UUID, int] = {}
        self.messages: list[UUID] = []
        self.broker_is_up = True
        self.queue_is_short = False
        self._patches = ExitStack()
        for target, name, stand_in in (
            (lifecycle, "_update", partial(self.update, lifecycle._update)),
            (lifecycle, "_update_and_read", partial(self.update, lifecycle._update_and_read)),
            (lifecycle, "_update_all", partial(self.update_all, lifecycle._update_all)),
            (broker, "send", self._send),
            (broker, "count", lambda queue: 0 if self.queue_is_short else 1000),
            (queues, "served", lambda: {"celery": True}),
            (outages, "PAUSE_SECONDS", 0),
        ):
            self._patches.enter_context(mock.patch.object(target, name, stand_in))
        Operation.objects.all().delete()
        broker.breaker.reset()

    def close(self) -> None:
        self._patches.close()
        broker.breaker.reset()
        Operation.objects.all().delete()

    def _send(self, operation: Operation) -> None:
        if not self.broker_is_up:
            raise ConnectionError("the broker is down")
        self.messages.append(operation.pk)

    def update(
        self, statement: Any, pk: UUID, guard: Values, changes: Values, **insert: Any
    ) -> Any:
        """Run `statement` in the interpreter, then in the database."""
        function = _calling().removesuffix("_unread")
        before = self.rows.get(pk) or self._adopt(pk)
        after = None if before is None else interpreter.update(before, guard, changes)
        hit = statement(pk, guard, changes, **insert)
        require(bool(hit) == (after is not None), f"interpreter and database agree on {function}")
        if before is None or after is None:
            return hit
        if any(isinstance(change, datetime) for change in changes.values()):
            # The interpreter knows no dates.
            dated = {name for name, change in changes.items() if isinstance(change, datetime)}
            after |= {name: value for name, value in read([pk])[pk].items() if name in dated}
        check_change(function, before, after, set(changes))
        self.rows[pk] = after
        if function == "claim":
            self.claims[pk] = self.claims.get(pk, 0) + 1
            self.holders[pk] = after["attempt"]
        elif after["status"] not in ACTIVE:
            self.holders.pop(pk, None)
        return hit

    def update_all(
        self, statement: Any, pks: Collection[UUID], guard: Values, changes: Values
    ) -> int:
        """The same for a statement about many rows."""
        befores = {pk: self.rows.get(pk) or self._adopt(pk) for pk in pks}
        count: int = statement(pks, guard, changes)
        for pk, before in befores.items():
            after = None if before is None else interpreter.update(before, guard, changes)
            if before is not None and after is not None:
                count -= 1
                check_change("purge", before, after, set(changes))
                self.rows[pk] = after
        require(not count, "interpreter and database agree on the number of tombstones")
        return len([pk for pk, before in befores.items() if self.rows.get(pk) is not before])

    def _adopt(self, pk: UUID) -> Values | None:
        """A new row, which an UPDATE may hit before the submitting rule is over."""
        row = read([pk]).get(pk)
        if row is not None:
            self.rows[pk] = row
        return row

    def shift(self, pk: UUID, **times: Any) -> None:
        """Let time pass for one row: set its columns `times`."""
        if Operation.objects.filter(pk=pk).update(**times):
            self.rows[pk] = read([pk])[pk]

    def check(self) -> None:
        """Check that the database has the expected rows, and that each row keeps the rules."""
        actual = read()
        for pk in self.rows.keys() - actual.keys():
            removed = self.rows.pop(pk)
            require(removed["status"] in FINAL, "purge touches no unfinished row")
            require(removed["deleted_at"] is not None, "only a tombstone is removed")
            require(removed["purge_at"] != Time.FUTURE, "a tombstone is removed when it is due")
        for pk, row in actual.items():
            expected = self.rows.setdefault(pk, row)
            changed = {name for name in row if row[name] != expected[name]} - {"results"}
            require(not changed, f"only lifecycle writes {sorted(changed)}")
            self.rows[pk] = row
            self._check_row(pk, row)

    def _check_row(self, pk: UUID, row: Values) -> None:
        check_row(row)
        require(row["attempt"] == self.claims.get(pk, 0), "each attempt is one claim")
        require(self.runs.get(pk, 0) <= row["attempt"], "a job runs only in an attempt")
        holder = self.holders.get(pk)
        require(holder is None or holder == row["attempt"], "at most one attempt may write")
        is_active = row["status"] in ACTIVE
        require((holder is not None) == is_active, "an attempt holds an active operation")

    @contextmanager
    def broken_commit(self, *, stored: bool) -> Iterator[None]:
        """The next transaction of `finishing` ends in an error, after its COMMIT or without it."""
        broken = mock.Mock(wraps=transaction)
        broken.atomic.side_effect = [self._broken(stored=stored), transaction.atomic()]
        with mock.patch.object(finishing, "transaction", broken):
            yield

    @contextmanager
    def _broken(self, *, stored: bool) -> Iterator[None]:
        rows, holders = dict(self.rows), dict(self.holders)
        with transaction.atomic():
            yield
            if not stored:
                self.rows, self.holders = rows, holders
                raise OperationalError("the connection broke before COMMIT")
        raise OperationalError("the answer to COMMIT was lost")


def _calling() -> str:
    """The function of `lifecycle` that sent the statement."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_code.co_name
        if frame.f_globals is lifecycle.__dict__ and not name.startswith("_"):
            return name
    raise Violation("only lifecycle writes")


def read(pks: list[UUID] | None = None) -> dict[UUID, Values]:
    """Rows by key, with times as the interpreter has them."""
    rows = Operation.objects.annotate(results=Count("result"), now=DatabaseNow())
    if pks is not None:
        rows = rows.filter(pk__in=pks)
    return {row["id"]: _interpreted(row) for row in rows.values()}


def _interpreted(row: Values) -> Values:
    now = row.pop("now")
    times = {
        column: _time(value, now) if isinstance(value, datetime) else value
        for column, value in row.items()
    }
    return times | {"earlier_seconds": None}


def _time(value: datetime, now: datetime) -> Time:
    if value > now:
        return Time.FUTURE
    return Time.LONG_AGO if value <= now - LONG else Time.PAST
