"""A queue that serves callers in turn, so that a caller with many items does not delay others."""

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Gives out one item of each caller in turn, and at most `max_per_caller` of one at a time.

    An item has a path, whose first part is its caller. Items whose paths begin with the same parts
    share a turn; the next parts of their paths take turns inside it. Not safe for threads.
    """

    def __init__(self, max_per_caller: int) -> None:
        self._max_per_caller = max_per_caller
        self._in_service: Counter[Hashable] = Counter()
        self._callers: _Branch[Item] = _Branch()

    def __bool__(self) -> bool:
        return bool(self._callers)

    def put(self, path: Sequence[Hashable], item: Item) -> None:
        """Queue `item` behind the earlier items of the same path."""
        self._callers.put(path, item)

    def has_turn(self, caller: Hashable) -> bool:
        """Whether `take` may give out an item of `caller` now."""
        return self._in_service[caller] < self._max_per_caller

    def take(self) -> tuple[Hashable, Item] | None:
        """The next item and its caller, which has to be passed to `done`; None if none is next."""
        for caller in self._callers:
            if self.has_turn(caller):
                self._in_service[caller] += 1
                return caller, self._callers.pop_from(caller)
        return None

    def done(self, caller: Hashable) -> None:
        """An item taken for `caller` needs no service any more."""
        self._in_service[caller] -= 1
        if not self._in_service[caller]:
            del self._in_service[caller]


class _Branch(Generic[Item]):
    """Items in their order, and the branches below, which take turns."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._branches: dict[Hashable, _Branch[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._items or self._branches)

    def __iter__(self) -> Iterator[Hashable]:
        """The names of the branches below, in the order of their turns."""
        return iter(self._branches)

    def put(self, path: Sequence[Hashable], item: Item) -> None:
        if path:
            self._branches.setdefault(path[0], _Branch()).put(path[1:], item)
        else:
            self._items.append(item)

    def pop(self) -> Item:
        return self._items.popleft() if self._items else self.pop_from(next(iter(self)))

    def pop_from(self, name: Hashable) -> Item:
        """The next item of the branch `name`; the branch then moves behind all others."""
        branch = self._branches.pop(name)
        item = branch.pop()
        if branch:
            self._branches[name] = branch
        return item
