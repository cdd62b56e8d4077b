"""Several operations in a real database, and rules that act on them in random order.

Bundles keep snapshots, deliveries and claims, so that a rule may use them much later: as a zombie,
after a rescue, after a purge.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from async_reply import lifecycle, services
from async_reply.attempts import finishing, giving_up, rescue, results, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.exceptions import AlreadyFinished, NotFinished, OperationGone, RetryLater
from async_reply.models import Operation, OperationStep
from async_reply.publishing import relay
from async_reply.publishing.broker import breaker
from async_reply.services import retention
from async_reply.services.idempotency import IdempotencyKey
from async_reply.status import ACTIVE, FINAL, Status
from async_reply.worker import receivers
from tests.lifecycle.playing import LATER, play, scripts
from tests.lifecycle.rules import require
from tests.lifecycle.world import World

PROBLEM = {"title": "broken"}
#: The final status that a function gives the row; None for pending.
STATUSES = {
    "succeed": Status.SUCCEEDED,
    "fail": Status.FAILED,
    "end_canceled": Status.CANCELED,
    "retry": None,
    "release": None,
}
COMMITS = ("stored", "answer lost", "not stored")


class LifecycleMachine(RuleBasedStateMachine):
    """A rule is an action of a client, a worker or maintenance. `World` has the expected rows."""

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
        scripts.clear()

    @invariant()
    def rules_are_kept(self) -> None:
        self.world.check()

    @rule(target=operations, later=st.booleans())
    def submit(self, later: bool) -> UUID:
        at: Any = after(LATER) if later else None
        return self._stored(services.submit(play, available_at=at))

    @rule(target=operations, key=st.sampled_from("ab"))
    def submit_with_key(self, key: str) -> Any:
        earlier = self.by_key.get(key)
        try:
            operation = services.submit(play, key=IdempotencyKey(key * 64, "f" * 64))
        except OperationGone:
            require(earlier in self.world.rows, "only an operation that existed can be gone")
            return multiple()
        if earlier in self.world.rows:
            require(operation.pk == earlier, "one operation per key")
            return multiple()
        self.by_key[key] = operation.pk
        return self._stored(operation)

    def _stored(self, operation: Operation) -> UUID:
        require(
            Operation.objects.filter(pk=operation.pk).exists(), "a submitted operation has a row"
        )
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
        """The broker loses its messages, or doubles them."""
        self.world.messages = self.world.messages * 2 if doubled else []
        del self.world.messages[20:]

    @rule(target=snapshots, pk=operations)
    def read(self, pk: UUID) -> Any:
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
            claimed = getattr(delivery, column)
            require(claimed == row[column], f"a claim returns its {column}")
        return delivery

    @rule(attempt=attempts, message=st.none() | st.just("half"))
    def beat(self, attempt: Operation, message: str | None) -> None:
        is_holder = self._holds(attempt)
        is_written = lifecycle.beat(attempt, progress=1, message=message)
        require(is_written == is_holder, "only the holder of the claim can beat")

    @rule(attempt=attempts)
    def step(self, attempt: Operation) -> None:
        is_holder = self._holds(attempt)
        name, number = uuid4().hex, attempt.attempt
        row = OperationStep(operation_id=attempt.pk, name=name, ordinal=1, attempt=number)
        with transaction.atomic():
            is_written = lifecycle.store_step(attempt, row)
        require(is_written == is_holder, "only the holder of the claim stores a step")
        is_stored = OperationStep.objects.filter(name=name).exists()
        require(is_stored == is_holder, "a step and its guard are written together")
        if is_written:
            attempt.retries = attempt.losses = 0

    @rule(
        attempt=attempts,
        function=st.sampled_from(sorted(STATUSES)),
        commit=st.sampled_from(COMMITS),
    )
    def finish(self, attempt: Operation, function: str, commit: str) -> None:
        """Finish as the runner does, also when nobody knows the outcome of COMMIT."""
        is_holder, before = self._holds(attempt), self.world.rows.get(attempt.pk)
        if before is None or (function == "retry" and attempt.retries >= attempt.max_retries):
            return
        is_stored = self._end(attempt, function, commit)
        if not is_holder and function == "succeed":
            had_succeeded = (before["status"], before["attempt"]) == (
                Status.SUCCEEDED,
                attempt.attempt,
            )
            require(is_stored <= had_succeeded, "an attempt that stored nothing has no success")
        if is_holder and function in ("succeed", "fail"):
            require(is_stored, "an attempt that holds its claim can end")

    def _end(self, attempt: Operation, function: str, commit: str) -> bool:
        options: dict[str, Any] = {"retry": {"delay": LATER}, "fail": {"error": PROBLEM}}

        def write() -> bool:
            written: bool = getattr(lifecycle, function)(attempt, **options.get(function, {}))
            if written:
                require(
                    self._holder == attempt.attempt,
                    "a worker writes only while the claim is its own",
                )
            if written and function == "succeed":
                results.store(attempt, results.JobResult(value=attempt.attempt))
            return written

        self._holder = self.world.holders.get(attempt.pk)
        broken = self.world.broken_commit(stored=commit == "answer lost")
        with nullcontext() if commit == "stored" else broken:
            return finishing.finish(attempt, write, STATUSES[function])

    def _holds(self, attempt: Operation) -> bool:
        return self.world.holders.get(attempt.pk) == attempt.attempt

    @rule(pk=operations, way=st.sampled_from(["return", "raise", "retry", "retry at once"]))
    def run(self, pk: UUID, way: str) -> None:
        """Let the runner run a whole attempt."""
        ways: dict[str, BaseException] = {
            "raise": ValueError("broken"),
            "retry": RetryLater(None),
            "retry at once": RetryLater(0),
        }

        def script(job: Job) -> Any:
            job.progress(50, message="half")
            if way in ways:
                raise ways[way]
            return way

        self.play(pk, script)

    def play(self, pk: UUID, script: Callable[[Job], Any]) -> None:
        """Let the runner run `script` as the job of an operation, if it is due."""

        def counted(job: Job) -> Any:
            self.world.runs[pk] = self.world.runs.get(pk, 0) + 1
            return script(job)

        scripts[pk] = counted
        is_due = Operation.objects.due().filter(pk=pk).exists()
        report = runner.run(pk, play.kind, worker="a worker", inline=True)
        require((report.ending is not Ending.NOT_MINE) == is_due, "only a due operation is run")

    @rule()
    def rescue_turn(self) -> None:
        rescue.rescue()
        require(not Operation.objects.lost().exists(), "lost operations are rescued")

    @rule(snapshot=snapshots)
    def rescue_late(self, snapshot: Operation) -> None:
        if snapshot.status in ACTIVE:  # a rescuer reads no other rows
            rescue._rescue(snapshot)

    @rule(attempt=attempts, timed_out=st.booleans())
    def rescue_from_dead_process(self, attempt: Operation, timed_out: bool) -> None:
        """Celery reports that the process of this attempt died, or another process."""
        is_holder = self._holds(attempt)
        worker = attempt.worker if is_holder else "another worker"
        is_rescued = rescue.from_dead_process(attempt.pk, worker=worker, timed_out=timed_out)
        require(is_rescued == is_holder, "an attempt whose process died is rescued at once")

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

    @rule()
    def give_up(self) -> None:
        giving_up.give_up()

    @rule(
        pk=operations,
        column=st.sampled_from(["lease", "deadline", "retention", "publish", "all attempts"]),
    )
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
        if column == "all attempts" and row["status"] == Status.PENDING:
            self.world.shift(pk, give_up_at=ago)

    @rule(pk=operations, long=st.booleans())
    def come_due(self, pk: UUID, long: bool) -> None:
        if pk in self.world.rows:
            at: Any = after(-12 * LATER if long else -LATER)
            self.world.shift(pk, available_at=at)
            pauses = OperationStep.objects.filter(operation=pk, until__isnull=False)
            pauses.update(until=at)
