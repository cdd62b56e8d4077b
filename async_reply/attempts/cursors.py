"""Where a job's loops are, and its state: kept between attempts, and written with each heartbeat.

A cursor is a key and not a count, since rows come and go between two attempts. Only a source whose
items have fixed places is counted.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from async_reply.attempts.events import EventLog
from async_reply.database import payloads
from async_reply.exceptions import PayloadError, StepRefused

#: Bytes of JSON of a job's state, and of all its cursors.
MAX_BYTES = 64 * 1024
#: Bytes of JSON of a key. A larger integer than this one is looked at as closely as a text.
MAX_KEY_BYTES, MAX_INTEGER = 16 * 1024, 2**64
#: Rows that a loop over a queryset reads at a time.
ROWS_AT_ONCE = 500
#: A key, and the item behind which a loop goes on.
Keyed: TypeAlias = tuple[Any, Any]
#: Returns the items behind a key, each with its key. The key is None at first.
ResumeFrom: TypeAlias = Callable[[Any], Iterable[Keyed]]


class Kept:
    """The column `kept` of an operation: the cursors by name, and the state."""

    def __init__(self, text: str, events: EventLog | None = None) -> None:
        """`events`: what the attempt emits. A cursor that moves keeps the events so far."""
        kept = json.loads(text) if text else {}
        self._events = events
        #: The cursors, and the last event when one moved. Replaced at each change and never changed
        #: in place: the heartbeat's thread reads it.
        self._position: tuple[dict[str, Any], int] = kept.get("cursors", {}), 0
        self._saved_event = 0
        self._state = kept.get("state")
        self._saved = text
        self._has_moved = False

    @property
    def cursors(self) -> dict[str, Any]:
        return self._position[0]

    @property
    def state(self) -> Any:
        """A copy, which the job may change and set again."""
        return json.loads(json.dumps(self._state))

    @state.setter
    def state(self, value: Any) -> None:
        self._state = payloads.to_json(value, limit=MAX_BYTES)

    def move(self, name: str, key: Any, done: int, length: int | None) -> None:
        """The loop `name` has done the item with this `key`, and `done` items in all."""
        last_event = 0 if self._events is None else self._events.last
        self._position = {**self.cursors, name: (key, done, length)}, last_event
        self._has_moved = True

    def drop(self, name: str) -> None:
        cursors = {other: at for other, at in self.cursors.items() if other != name}
        self._position = cursors, self._position[1]

    @property
    def unsaved(self) -> dict[str, Any]:
        """The columns that the row does not show yet. A job whose cursor moves gets further."""
        cursors, last_event = self._position
        if not cursors and self._state is None and not self._saved:
            return {}
        text = json.dumps(
            {"cursors": cursors, "state": self._state},
            cls=DjangoJSONEncoder,
            ensure_ascii=False,
        )
        further = {"idle_releases": 0} if self._has_moved else {}
        if last_event > self._saved_event:
            further["kept_events"] = last_event
        return {} if text == self._saved else {"kept": text, **further}

    def saved(self, columns: Mapping[str, Any]) -> None:
        """The row shows these columns."""
        self._saved = columns.get("kept", self._saved)
        self._saved_event = columns.get("kept_events", self._saved_event)
        self._has_moved = False


class Loop:
    """A loop over `source` that goes on behind the item of its cursor."""

    def __init__(self, kept: Kept, name: str, source: Any, resume_from: ResumeFrom | None) -> None:
        self._kept = kept
        self._name = name
        self._source = source
        self._resume_from = resume_from
        cursor: tuple[Any, int, int | None] = kept.cursors.get(name, (None, 0, None))
        self._key, self.done, self._length = cursor
        self._check()

    def _check(self) -> None:
        """Raise TypeError for a source that cannot be resumed, StepRefused for one that changed."""
        source = self._source
        if self._resume_from is not None:
            return
        if isinstance(source, list | tuple | range):
            if self._length not in (None, len(source)):
                raise StepRefused(
                    f"The loop {self._name!r} has done {self.done} of {self._length} items, and "
                    f"now there are {len(source)}: nobody knows which were done. Loop over a "
                    "queryset, or use resume_from."
                )
            self._length = len(source)
        elif not isinstance(source, QuerySet):
            raise TypeError(
                f"A loop over a {type(source).__name__} cannot go on where it was: a generator, "
                "for example, has no place to go to. Loop over a queryset, a list, a tuple or a "
                "range, or pass resume_from, which returns the items behind a key."
            )
        elif source.query.is_sliced or source._iterable_class is not ModelIterable:  # noqa: SLF001
            raise TypeError("A loop with resume=… takes a queryset of instances, without a slice.")
        elif source.query.order_by not in ((), ("pk",), (source.model._meta.pk.name,)):
            raise TypeError('A loop with resume=… goes by primary key: write order_by("pk").')

    def total(self) -> int | None:
        """How many items there are, those included that were done; None where nobody knows."""
        if self._resume_from is not None:
            return None
        if isinstance(self._source, QuerySet):
            return self.done + int(self._behind(self._key).count())
        return self._length

    def items(self) -> Iterator[Keyed]:
        """The items that are left, each with its key."""
        if self._resume_from is not None:
            yield from self._resume_from(self._key)
        elif isinstance(self._source, QuerySet):
            yield from self._rows()
        else:
            for place in range(self.done, len(self._source)):
                yield place, self._source[place]

    def _rows(self) -> Iterator[Keyed]:
        """Rows in portions: no cursor of the database is open while the job works."""
        key = self._key
        while True:
            rows = list(self._behind(key)[:ROWS_AT_ONCE])
            yield from ((row.pk, row) for row in rows)
            if len(rows) < ROWS_AT_ONCE:
                return
            key = rows[-1].pk

    def _behind(self, key: Any) -> "QuerySet[Any]":
        rows: QuerySet[Any] = self._source.order_by("pk")
        return rows if key is None else rows.filter(pk__gt=key)

    def move(self, key: Any) -> None:
        """The item of this key is done. Raises PayloadError for a key that no row can keep.

        The heartbeat writes it. An error there would end the lease.
        """
        if type(key) is not int or abs(key) > MAX_INTEGER:
            try:
                payloads.to_json(key, limit=MAX_KEY_BYTES)
            except PayloadError as error:
                text = f"The loop {self._name!r} cannot keep the key of an item. {error}"
                raise PayloadError(text) from error
        self.done += 1
        self._kept.move(self._name, key, self.done, self._length)
