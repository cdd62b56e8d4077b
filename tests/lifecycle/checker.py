"""Every interleaving of the actors on one operation, breadth first, so traces are shortest."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from async_reply.status import ACTIVE, FINAL
from tests.lifecycle.actors import IDLE, Actor, Grip, Step, clock, moved
from tests.lifecycle.hands import Hand
from tests.lifecycle.interpreter import Time
from tests.lifecycle.model import Row, Table, remember
from tests.lifecycle.rules import Violation, require
from tests.lifecycle.workers import Worker

Actors = tuple[Actor, ...]
State = tuple[Row | None, int, Actors, Actors]
Successor = tuple[str, State]

#: Stages of a worker that has claimed.
HOLDING = frozenset({"running", "refused", "unsure"})
#: What may not happen at all, so that an end must be in reach without it.
HELP_FROM_OUTSIDE = frozenset({"cancel", "receive unknown kind"})


@dataclass
class Exploration:
    """What was found; `dead_ends` are states from which no end can be reached."""

    states: int = 0
    transitions: int = 0
    arrows: set[tuple[str, str]] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    dead_ends: int = 0


class Checker:
    """`workers` and `hands` act on what they read earlier; at most `messages` are under way."""

    def __init__(self, *, workers: int, hands: int, messages: int) -> None:
        self.table = Table()
        self.workers, self.hands, self.messages = workers, hands, messages
        hand = Hand(self.table)
        self._worker_steps = remember(Worker(self.table).steps)
        self._hand_steps = remember(hand.steps)
        self._others_steps = remember(lambda row: [*hand.at_once(row), *clock(row)])
        self._moved = remember(
            lambda actors, effect: tuple(moved(actor, effect) for actor in actors)
        )

    def explore(self) -> Exploration:
        with self.table.installed():
            return self._explore()

    def _explore(self) -> Exploration:
        found = Exploration(arrows=self.table.arrows)
        self._came_from: dict[State, tuple[State, str] | None] = dict.fromkeys(self._starts())
        states = list(self._came_from)
        numbers = {state: number for number, state in enumerate(states)}
        unaided: list[list[int]] = []
        for state in states:
            ways = []
            for label, following in self._followed(state):
                number = numbers.setdefault(following, len(states))
                if number == len(states):
                    states.append(following)
                    self._came_from[following] = (state, label)
                found.transitions += 1
                found.labels.add(label)
                if label not in HELP_FROM_OUTSIDE:
                    ways.append(number)
            unaided.append(ways)
        found.states = len(states)
        found.dead_ends = found.states - _count_leading_to_end(states, unaided)
        return found

    def _starts(self) -> Iterator[State]:
        """Submitted with the broker up, with the breaker open, and for later."""
        idle = (IDLE,) * self.workers
        hands = (IDLE,) * self.hands
        yield Row(published=True), 0, idle, _sorted((Actor("send"), *hands[1:]))
        yield Row(), 0, idle, hands
        yield Row(available_at=Time.FUTURE), 0, idle, hands

    def _followed(self, state: State) -> Iterator[Successor]:
        try:
            _check_holders(state)
            yield from self._successors(state)
        except Violation as violation:
            violation.add_note("\n".join(self._trace(state)))
            raise

    def _successors(self, state: State) -> Iterator[Successor]:
        row, messages, workers, hands = state
        yield from self._turns(state, workers, hands, by_worker=True)
        yield from self._turns(state, hands, workers, by_worker=False)
        for step in self._others_steps(row):
            yield step.label, self._state(state, step, workers, hands)
        if messages:
            yield "message lost", (row, messages - 1, workers, hands)
            if messages < self.messages:
                yield "message doubled", (row, messages + 1, workers, hands)

    def _turns(
        self, state: State, actors: Actors, others: Actors, *, by_worker: bool
    ) -> Iterator[Successor]:
        steps_of = self._worker_steps if by_worker else self._hand_steps
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

    def _state(self, state: State, step: Step, workers: Actors, hands: Actors) -> State:
        if step.effect:
            workers = _sorted(self._moved(workers, step.effect))
            hands = _sorted(self._moved(hands, step.effect))
        return step.row, self._sum(state[1], step), workers, hands

    def _sum(self, messages: int, step: Step) -> int:
        return min(messages + step.messages, self.messages)

    def _trace(self, state: State) -> list[str]:
        lines = [f"in {state}"]
        came: tuple[State, str] | None = self._came_from[state]
        while came is not None:
            state, label = came
            lines.append(label)
            came = self._came_from[state]
        return lines[::-1]


def _check_holders(state: State) -> None:
    row, _, workers, _ = state
    holders = sum(one.grip == Grip.HELD and one.stage in HOLDING for one in workers)
    require(holders <= int(row is not None and row.status in ACTIVE), "one attempt at a time")


def _sorted(actors: Actors) -> Actors:
    """Who of several workers is where makes no difference."""
    return actors if len(actors) == 1 else tuple(sorted(actors))


def _count_leading_to_end(states: list[State], ways: list[list[int]]) -> int:
    """How many states an end can be reached from."""
    before: list[list[int]] = [[] for _ in states]
    for number, following in enumerate(ways):
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
