"""A queue that serves callers in turn, so that none stands before all others."""

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Line(Generic[Item]):
    """Items in their order; and lines below it, each of which gives one item in turn."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._lines: dict[Hashable, Line[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._items or self._lines)

    def __iter__(self) -> Iterator[Hashable]:
        """The names of the lines below, in the order of their turns."""
        return iter(self._lines)

    def put(self, path: Sequence[Hashable], item: Item) -> None:
        if path:
            self._lines.setdefault(path[0], Line()).put(path[1:], item)
        else:
            self._items.append(item)

    def pop(self) -> Item:
        return self._items.popleft() if self._items else self.pop_of(next(iter(self)))

    def pop_of(self, name: Hashable) -> Item:
        """The next item of the line below of this name, whose next turn comes behind all others."""
        line = self._lines.pop(name)
        item = line.pop()
        if line:
            self._lines[name] = line
        return item


class Turns(Generic[Item]):
    """A turn for each caller; while `most` items of one caller are being served, it has none.

    A caller is the first part of a path. Paths that begin alike share a turn, which their next
    parts have in turn. It is not safe for threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._served: Counter[Hashable] = Counter()
        self._callers: Line[Item] = Line()

    def __bool__(self) -> bool:
        return bool(self._callers)

    def put(self, path: Sequence[Hashable], item: Item) -> None:
        """Queue `item` behind what its caller has queued before."""
        self._callers.put(path, item)

    def take(self) -> tuple[Hashable, Item] | None:
        """The next item, with the caller to pass to `done`; None where nobody has a turn."""
        for caller in self._callers:
            if self._served[caller] < self._most:
                self._served[caller] += 1
                return caller, self._callers.pop_of(caller)
        return None

    def done(self, caller: Hashable) -> None:
        """An item that was taken for `caller` has been served."""
        self._served[caller] -= 1
        if not self._served[caller]:
            del self._served[caller]
