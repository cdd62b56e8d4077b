"""A queue in which callers take turns."""

from async_reply.waiting.fair_queue import FairQueue


def items(queue: FairQueue[str]) -> list[str]:
    """All items, each of which is done before the next is taken."""
    taken = []
    while (pair := queue.take()) is not None:
        caller, item = pair
        queue.done(caller)
        taken.append(item)
    return taken


def test_take__callers_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(1)
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put([item[0]], item)
    assert items(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not queue


def test_take__next_parts_of_a_path_take_turns_inside_the_turn_of_its_caller() -> None:
    queue: FairQueue[str] = FairQueue(1)
    for item in ("x1", "x2", "x3", "y1"):
        queue.put(["unknown", item[0]], item)
    for item in ("a1", "a2"):
        queue.put(["ada"], item)
    assert items(queue) == ["x1", "a1", "y1", "a2", "x2", "x3"]


def test_take__one_caller_has_no_more_than_its_maximum() -> None:
    queue: FairQueue[str] = FairQueue(2)
    for item in ("a1", "a2", "a3"):
        queue.put(["a"], item)
    assert queue.has_turn("a")
    assert [queue.take(), queue.take(), queue.take()] == [("a", "a1"), ("a", "a2"), None]
    assert (queue.has_turn("a"), queue.has_turn("b")) == (False, True)
    queue.put(["b"], "b1")
    assert queue.take() == ("b", "b1")
    queue.done("a")
    assert queue.take() == ("a", "a3")
