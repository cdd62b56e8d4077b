"""Several operations in a real database, whatever happens to them in whatever order.

What was read earlier waits in bundles, so that a snapshot, a delivery, a claim may be used much
later: by a zombie, after a rescue, after a purge.
"""

from contextlib import nullcontext, suppress
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from async_reply import lifecycle, services
from async_reply.attempts import rescue, results, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.runner import Ending, Report
from async_reply.database.clock import after
from async_reply.exceptions import AlreadyFinished, NotFinished, OperationGone, RetryLater
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.publishing.broker import breaker
from async_reply.services import retention
from async_reply.services.idempotency import IdempotencyKey
from async_reply.status import ACTIVE, FINAL, Status
from async_reply.tasks import operation_task
from async_reply.worker import receivers
from tests.lifecycle.rules import require
from tests.lifecycle.world import World

LATER = 600
PROBLEM = {"title": "broken"}
ENDINGS = {
    "succeed": Ending.SUCCEEDED,
    "fail": Ending.FAILED,
    "end_canceled": Ending.CANCELED,
    "retry": Ending.AGAIN,
    "release": Ending.AGAIN,
}
FATES = ("stored", "answer lost", "not stored")


def _play(operation: Job) -> Any:
    """The job of these operations: does what the rule that runs it says."""
    return _scripts[operation.id](operation)


_scripts: dict[UUID, Any] = {}

play = operation_task(
    name="tests.lifecycle.play", max_retries=1, max_losses=1, default_retry_delay=LATER
)(_play)


class LifecycleMachine(RuleBasedStateMachine):
    """Rules are what somebody does; `World` keeps the books."""

    operations: Bundle[UUID] = Bundle("operations")
    snapshots: Bundle[Operation] = Bundle("snapshots")
    deliveries: Bundle[Operation] = Bundle("deliveries")
    attempts: Bundle[Operation] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.by_key: dict[str, UUID] = {}

    def teardown(self) -> None:
        self.world.close()
        _scripts.clear()

    @invariant()
    def rules_are_kept(self) -> None:
        self.world.check()

    @rule(target=operations, later=st.booleans())
    def submit(self, later: bool) -> UUID:
        at: Any = after(LATER) if later else None
        return self._told(services.submit(play, available_at=at))

    @rule(target=operations, key=st.sampled_from("ab"))
    def submit_with_key(self, key: str) -> Any:
        known = self.by_key.get(key)
        try:
            operation = services.submit(play, key=IdempotencyKey(key * 64, "f" * 64))
        except OperationGone:
            require(known in self.world.rows, "only what once was can be gone")
            return multiple()
        if known in self.world.rows:
            require(operation.pk == known, "one operation per key")
            return multiple()
        self.by_key[key] = operation.pk
        return self._told(operation)

    def _told(self, operation: Operation) -> UUID:
        require(Operation.objects.filter(pk=operation.pk).exists(), "a 202 has its row")
        pk: UUID = operation.pk
        return pk

    @rule(up=st.booleans(), short=st.booleans())
    def change_broker(self, up: bool, short: bool) -> None:
        self.world.broker_is_up, self.world.queue_is_short = up, short
        breaker.reset()

    @rule()
    def relay_turn(self) -> None:
        relay.publish_due()
        relay.republish_lost()

    @rule(snapshot=snapshots)
    def publish_late(self, snapshot: Operation) -> None:
        relay._publish_all([snapshot])

    @rule(doubled=st.booleans())
    def confuse_broker(self, doubled: bool) -> None:
        """It forgets what it was sent, or sends it twice."""
        self.world.messages = self.world.messages * 2 if doubled else []
        del self.world.messages[20:]

    @rule(target=snapshots, pk=operations)
    def look(self, pk: UUID) -> Any:
        snapshot = Operation.objects.filter(pk=pk).first()
        return multiple() if snapshot is None else snapshot

    @rule(target=deliveries)
    def receive(self) -> Any:
        if not self.world.messages:
            return multiple()
        snapshot = Operation.objects.filter(pk=self.world.messages.pop(0)).first()
        return multiple() if snapshot is None else snapshot

    @rule()
    def receive_unknown_kind(self) -> None:
        if self.world.messages:
            receivers.reject_unknown(name=play.name, id=str(self.world.messages.pop(0)))

    @rule(target=attempts, delivery=consumes(deliveries))
    def claim(self, delivery: Operation) -> Any:
        if not lifecycle.claim(delivery, worker="a worker"):
            return multiple()
        row = self.world.rows[delivery.pk]
        for column in ("attempt", "version", "retries", "losses"):
            told = getattr(delivery, column)
            require(told == row[column], f"who claims knows the {column}")
        return delivery

    @rule(attempt=attempts, message=st.none() | st.just("news"))
    def beat(self, attempt: Operation, message: str | None) -> None:
        held = self._holds(attempt)
        require(lifecycle.beat(attempt, progress=1, message=message) == held, "who holds beats")

    @rule(
        attempt=attempts,
        function=st.sampled_from(sorted(ENDINGS)),
        fate=st.sampled_from(FATES),
    )
    def finish(self, attempt: Operation, function: str, fate: str) -> None:
        """As the runner does, where it lives on after a COMMIT of unknown fate."""
        held, before = self._holds(attempt), self.world.rows.get(attempt.pk)
        if before is None or (function == "retry" and attempt.retries >= attempt.max_retries):
            return
        report = self._end(attempt, function, fate)
        if not held and function == "succeed":
            done = before["status"] == Status.SUCCEEDED and before["attempt"] == attempt.attempt
            told = report.ending is Ending.SUCCEEDED
            require(told <= done, "who stored nothing does not report success")
        if held and function in ("succeed", "fail"):
            require(report.ending is ENDINGS[function], "an attempt that holds its claim can end")

    def _end(self, attempt: Operation, function: str, fate: str) -> Report:
        options: dict[str, Any] = {"retry": {"delay": LATER}, "fail": {"error": PROBLEM}}

        def write() -> bool:
            written: bool = getattr(lifecycle, function)(attempt, **options.get(function, {}))
            if written:
                require(self._held == attempt.attempt, "a worker writes only while it holds")
            if written and function == "succeed":
                results.store(attempt, results.Outcome(value=attempt.attempt))
            return written

        self._held = self.world.holders.get(attempt.pk)
        broken = self.world.broken_commit(stored=fate == "answer lost")
        with nullcontext() if fate == "stored" else broken:
            return runner._ended(attempt, write, ENDINGS[function])

    def _holds(self, attempt: Operation) -> bool:
        return self.world.holders.get(attempt.pk) == attempt.attempt

    @rule(pk=operations, way=st.sampled_from(["return", "raise", "retry", "retry at once"]))
    def run(self, pk: UUID, way: str) -> None:
        """A whole attempt by the runner itself."""
        ways: dict[str, BaseException] = {
            "raise": ValueError("broken"),
            "retry": RetryLater(None),
            "retry at once": RetryLater(0),
        }

        def script(job: Job) -> Any:
            self.world.runs[pk] = self.world.runs.get(pk, 0) + 1
            job.progress(50, message="half")
            if way in ways:
                raise ways[way]
            return way

        _scripts[pk] = script
        due = Operation.objects.due().filter(pk=pk).exists()
        report = runner.run(pk, play.kind, worker="a worker", inline=True)
        require((report.ending is not Ending.NOT_MINE) == due, "what is due is run to an end")

    @rule()
    def rescue_turn(self) -> None:
        rescue.rescue()
        require(not Operation.objects.lost().exists(), "what is lost is rescued")

    @rule(snapshot=snapshots)
    def rescue_late(self, snapshot: Operation) -> None:
        if snapshot.status in ACTIVE:  # no rescuer looks at others
            rescue._rescue(snapshot)

    @rule(attempt=attempts, timed_out=st.booleans())
    def take_back(self, attempt: Operation, timed_out: bool) -> None:
        """Celery says that the process of an attempt is gone, or that another one is."""
        held = self._holds(attempt)
        worker = attempt.worker if held else "another worker"
        rescued = rescue.take_back(attempt.pk, worker=worker, timed_out=timed_out)
        require(rescued == held, "whose process is gone is rescued at once")

    @rule(snapshot=snapshots)
    def cancel(self, snapshot: Operation) -> None:
        if snapshot.pk in self.world.rows:
            with suppress(AlreadyFinished):
                services.cancel(snapshot)
            status = self.world.rows[snapshot.pk]["status"]
            require(status in FINAL | {Status.CANCELING}, "a cancel takes effect at once")

    @rule(snapshot=snapshots)
    def cancel_late(self, snapshot: Operation) -> None:
        lifecycle.cancel(snapshot)

    @rule(snapshot=snapshots)
    def delete(self, snapshot: Operation) -> None:
        with suppress(NotFinished):
            services.delete(snapshot)

    @rule(snapshot=snapshots, expired=st.booleans())
    def purge_content(self, snapshot: Operation, expired: bool) -> None:
        retention.purge_content(snapshot, only_expired=expired)

    @rule()
    def purge(self) -> None:
        retention.purge()

    @rule(snapshot=snapshots)
    def reject_late(self, snapshot: Operation) -> None:
        lifecycle.reject(snapshot)

    @rule(pk=operations, column=st.sampled_from(["lease", "deadline", "retention", "publish"]))
    def let_time_pass(self, pk: UUID, column: str) -> None:
        row = self.world.rows.get(pk)
        if row is None:
            return
        ago: Any = after(-LATER)
        if column == "publish" and row["published_at"] is not None:
            self.world.shift(pk, published_at=ago)
        if column == "retention" and row["purge_at"] is not None:
            self.world.shift(pk, purge_at=ago, expires_at=ago)
        if column == "lease" and row["lease_expires_at"] is not None:
            self.world.shift(pk, lease_expires_at=ago)
        if column == "deadline" and row["lease_expires_at"] is not None:
            self.world.shift(pk, lease_expires_at=ago, deadline_at=ago)

    @rule(pk=operations, long=st.booleans())
    def come_due(self, pk: UUID, long: bool) -> None:
        if pk in self.world.rows:
            self.world.shift(pk, available_at=after(-12 * LATER if long else -LATER))
