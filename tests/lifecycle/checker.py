"""Explores every interleaving of actors on one operation, breadth first: the shortest traces."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from async_reply.status import ACTIVE, FINAL
from tests.lifecycle.actors import IDLE, Actor, Knowledge, Step, moved
from tests.lifecycle.interpreter import Time
from tests.lifecycle.model import MAX_STEPS, Row, Table
from tests.lifecycle.outsiders import Outsider
from tests.lifecycle.rules import Violation, require
from tests.lifecycle.workers import Worker

Actors = tuple[Actor, ...]
State = tuple[Row | None, int, Actors, Actors]
Successor = tuple[str, State]

#: Stages of a worker that has claimed.
HOLDING = frozenset({"running", "refused", "unsure"})
#: Steps that may never happen. The operation must be able to end without them.
OPTIONAL_STEPS = frozenset({"cancel", "receive unknown kind"})


@dataclass
class Exploration:
    """Counts, and what occurred. `dead_ends` are states from which no end can be reached."""

    states: int = 0
    transitions: int = 0
    arrows: set[tuple[str, str]] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    dead_ends: int = 0


class Checker:
    """`workers` and `outsiders` act on rows they read earlier; `messages` is the most at a time.

    `steps`: how many steps of jobs are stored at most. One makes the states several times as many.
    """

    def __init__(
        self, *, workers: int, outsiders: int, messages: int, steps: int = MAX_STEPS
    ) -> None:
        self.workers, self.outsiders, self.messages = workers, outsiders, messages
        self.table, worker, outsider = self.make_actors(steps)
        self._worker_steps = cache(worker.steps)
        self._outsider_steps = cache(outsider.steps)
        self._others_steps = cache(lambda row: [*outsider.at_once(row), *outsider.clock(row)])
        self._moved = cache(lambda actors, effect: tuple(moved(actor, effect) for actor in actors))

    def make_actors(self, steps: int) -> tuple[Table, Worker, Outsider]:
        table = Table()
        return table, Worker(table, max_steps=steps), Outsider(table)

    def explore(self) -> Exploration:
        with self.table.installed():
            return self._explore()

    def _explore(self) -> Exploration:
        exploration = Exploration(arrows=self.table.arrows)
        self._came_from: dict[State, tuple[State, str] | None] = dict.fromkeys(self._starts())
        states = list(self._came_from)
        numbers = {state: number for number, state in enumerate(states)}
        successors: list[list[int]] = []
        for state in states:
            numbers_of_successors = []
            for label, following in self._followed(state):
                number = numbers.setdefault(following, len(states))
                if number == len(states):
                    states.append(following)
                    self._came_from[following] = (state, label)
                exploration.transitions += 1
                exploration.labels.add(label)
                if label not in OPTIONAL_STEPS:
                    numbers_of_successors.append(number)
            successors.append(numbers_of_successors)
        exploration.states = len(states)
        exploration.dead_ends = len(states) - _count_leading_to_end(states, successors)
        return exploration

    def _starts(self) -> Iterator[State]:
        """Operations submitted with the broker up, with the breaker open, and for later."""
        idle = (IDLE,) * self.workers
        outsiders = (IDLE,) * self.outsiders
        yield Row(published=True), 0, idle, _sorted((Actor("send"), *outsiders[1:]))
        yield Row(), 0, idle, outsiders
        yield Row(available_at=Time.FUTURE), 0, idle, outsiders

    def _followed(self, state: State) -> Iterator[Successor]:
        try:
            _check_holders(state)
            yield from self._successors(state)
        except Violation as violation:
            violation.add_note("\n".join(self._trace(state)))
            raise

    def _successors(self, state: State) -> Iterator[Successor]:
        row, messages, workers, outsiders = state
        yield from self._turns(state, workers, outsiders, by_worker=True)
        yield from self._turns(state, outsiders, workers, by_worker=False)
        for step in self._others_steps(row):
            yield step.label, self._state(state, step, workers, outsiders)
        if messages:
            yield "message lost", (row, messages - 1, workers, outsiders)
            if messages < self.messages:
                yield "message doubled", (row, messages + 1, workers, outsiders)

    def _turns(
        self, state: State, actors: Actors, others: Actors, *, by_worker: bool
    ) -> Iterator[Successor]:
        steps_of = self._worker_steps if by_worker else self._outsider_steps
        for position, actor in enumerate(actors):
            if actor in actors[:position]:
                continue
            rest = actors[:position] + actors[position + 1 :]
            for step in steps_of(state[0], actor):
                if step.messages < 0 and not state[1]:
                    continue
                acting = self._with(rest, step)
                watching = self._moved(others, step.effect) if step.effect else others
                following = (acting, watching) if by_worker else (watching, acting)
                yield step.label, (step.row, self._sum(state[1], step), *following)

    def _with(self, rest: Actors, step: Step) -> Actors:
        if step.effect:
            rest = self._moved(rest, step.effect)
        return _sorted((*rest, step.actor))

    def _state(self, state: State, step: Step, workers: Actors, outsiders: Actors) -> State:
        if step.effect:
            workers = _sorted(self._moved(workers, step.effect))
            outsiders = _sorted(self._moved(outsiders, step.effect))
        return step.row, self._sum(state[1], step), workers, outsiders

    def _sum(self, messages: int, step: Step) -> int:
        return min(messages + step.messages, self.messages)

    def _trace(self, state: State) -> list[str]:
        lines = [f"in {state}"]
        origin: tuple[State, str] | None = self._came_from[state]
        while origin is not None:
            state, label = origin
            lines.append(label)
            origin = self._came_from[state]
        return lines[::-1]


def _check_holders(state: State) -> None:
    row, _, workers, _ = state
    holders = sum(
        worker.knowledge == Knowledge.CURRENT and worker.stage in HOLDING for worker in workers
    )
    require(holders <= int(row is not None and row.status in ACTIVE), "one attempt at a time")


def _sorted(actors: Actors) -> Actors:
    """Actors of the same sort are interchangeable, so their order is fixed."""
    return actors if len(actors) == 1 else tuple(sorted(actors))


def _count_leading_to_end(states: list[State], successors: list[list[int]]) -> int:
    """The number of states from which an end can be reached."""
    before: list[list[int]] = [[] for _ in states]
    for number, following in enumerate(successors):
        for target in following:
            before[target].append(number)
    ends = [number for number, state in enumerate(states) if _is_end(state)]
    reached = set(ends)
    while ends:
        for number in before[ends.pop()]:
            if number not in reached:
                reached.add(number)
                ends.append(number)
    return len(reached)


def _is_end(state: State) -> bool:
    row = state[0]
    return row is None or row.status in FINAL
