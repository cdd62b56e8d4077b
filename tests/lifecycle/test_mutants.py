"""A broken guard fails a checker: each mutant breaks the rule that is named beside it."""

from collections.abc import Callable

import pytest
from django.db.models import F

from async_reply.status import ACTIVE, Status
from tests.lifecycle import mutants
from tests.lifecycle.asking import AskingChecker
from tests.lifecycle.checker import Checker
from tests.lifecycle.machine import LifecycleMachine
from tests.lifecycle.mutants import Mutation, mutated, without
from tests.lifecycle.rules import Violation

pytestmark = pytest.mark.checker

OWN = "writes only while the claim is its own"
FINISHES = ("succeed", "fail", "end_canceled", "retry", "release")


@pytest.mark.parametrize(
    ("mutation", "functions", "rule"),
    [
        pytest.param(
            mutants.or_lost(*ACTIVE), ["claim"], "only a pending operation", id="claim-by-lease"
        ),
        pytest.param(
            mutants.or_lost(Status.CANCELING),
            ["claim"],
            "no arrow leads from canceling to running",
            id="claim-canceling-by-lease",
        ),
        pytest.param(
            mutants.fenced_by_attempt, ["claim"], "holds its claim", id="claim-by-attempt"
        ),
        pytest.param(without("available_at__lte"), ["claim"], "available_at", id="claim-early"),
        pytest.param(
            without("version"), ["claim"], "returns its attempt", id="claim-with-any-snapshot"
        ),
        pytest.param(without("status__in"), ["beat"], OWN, id="beat-by-attempt"),
        pytest.param(without("attempt"), ["store_step"], OWN, id="step-unfenced"),
        pytest.param(without("status__in"), ["store_step"], OWN, id="step-by-attempt"),
        pytest.param(
            without("lease_expires_at__lte"),
            ["rescue"],
            "until the lease is over",
            id="rescue-the-living",
        ),
        pytest.param(without("attempt"), ["rescue"], "losses", id="rescue-any-attempt"),
        pytest.param(
            mutants.guarded(mutants.while_active), ["retry"], "no arrow leads", id="retry-canceling"
        ),
        pytest.param(
            mutants.guarded(mutants.while_active),
            ["release"],
            "no arrow leads",
            id="release-canceling",
        ),
        pytest.param(
            mutants.also(retries=F("retries") + 1),
            ["release"],
            "release adds 0 to retries",
            id="release-costs-a-retry",
        ),
        pytest.param(
            mutants.also(retries=F("retries") + 1),
            ["rescue"],
            "rescue adds 0 to retries",
            id="rescue-costs-a-retry",
        ),
        pytest.param(
            mutants.guarded(mutants.within_attempts), ["retry"], "holds its claim", id="one-counter"
        ),
        pytest.param(without("attempt"), FINISHES, OWN, id="finish-unfenced"),
        pytest.param(without("status__in"), FINISHES, OWN, id="finish-by-attempt"),
        pytest.param(without("status__in"), ["purge"], "no unfinished row", id="purge-unfinished"),
        pytest.param(without("purge_at__lte"), ["purge"], "purge waits", id="purge-early"),
        pytest.param(without("publishes"), ["reserve"], "has one owner", id="reserve-twice"),
        pytest.param(without("publishes"), ["hand_back"], "by its owner", id="hand_back-others"),
        pytest.param(
            without("attempt"), ["hand_back"], "that has run", id="hand_back-what-has-run"
        ),
        pytest.param(without("status"), ["cancel"], "no arrow|final status", id="cancel-anything"),
    ],
)
def test_checker__finds_a_broken_guard(mutation: Mutation, functions: list[str], rule: str) -> None:
    with mutated(mutation, *functions), pytest.raises(Violation, match=rule):
        Checker(workers=2, outsiders=1, messages=2).explore()


@pytest.mark.parametrize(
    ("mutation", "function", "rule"),
    [
        pytest.param(without("status"), "answer", "pending operation", id="answer-a-canceled-one"),
        pytest.param(without("attempt"), "answer", "belongs to", id="answer-another-question"),
        pytest.param(without("pause"), "answer", "pending operation", id="answer-twice"),
        pytest.param(without("attempt"), "pause", OWN, id="pause-unfenced"),
        pytest.param(without("status__in"), "pause", "no arrow leads", id="pause-by-attempt"),
        pytest.param(
            mutants.guarded(mutants.while_active), "pause", "no arrow leads", id="pause-canceling"
        ),
        pytest.param(
            mutants.also(pause=F("pause")), "claim", "waits for nothing", id="claim-still-asks"
        ),
    ],
)
def test_checker__finds_a_broken_guard_where_a_job_asks(
    mutation: Mutation, function: str, rule: str
) -> None:
    with mutated(mutation, function), pytest.raises(Violation, match=rule):
        AskingChecker(workers=2, outsiders=1, messages=1).explore()


def a_duplicate_after_the_lease(machine: LifecycleMachine) -> None:
    pk = machine.submit(later=False)
    machine.confuse_broker(doubled=True)
    machine.claim(delivery=machine.receive())
    machine.let_time_pass(pk=pk, column="lease")
    machine.claim(delivery=machine.receive())


def a_beat_after_the_rescue(machine: LifecycleMachine) -> None:
    pk = machine.submit(later=False)
    attempt = machine.claim(delivery=machine.receive())
    machine.let_time_pass(pk=pk, column="lease")
    machine.rescue_turn()
    machine.beat(attempt=attempt, message=None)


def a_retry_after_a_release(machine: LifecycleMachine) -> None:
    pk = machine.submit(later=False)
    attempt = machine.claim(delivery=machine.receive())
    machine.finish(attempt=attempt, function="release", commit="stored")
    machine.run(pk=pk, way="retry")


DIRECTED = [
    pytest.param(
        mutants.or_lost(*ACTIVE), "claim", a_duplicate_after_the_lease, id="claim-by-lease"
    ),
    pytest.param(without("status__in"), "beat", a_beat_after_the_rescue, id="beat-by-attempt"),
    pytest.param(
        mutants.guarded(mutants.within_attempts),
        "retry",
        a_retry_after_a_release,
        id="one-counter",
    ),
]


def play(steps: Callable[[LifecycleMachine], None]) -> None:
    """Take `steps` on the real database, then check the rules."""
    machine = LifecycleMachine()
    try:
        steps(machine)
        machine.rules_are_kept()
    finally:
        machine.teardown()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("mutation", "function", "steps"), DIRECTED)
def test_state_machine__finds_a_broken_guard(
    mutation: Mutation, function: str, steps: Callable[[LifecycleMachine], None]
) -> None:
    play(steps)
    with mutated(mutation, function), pytest.raises(Violation):
        play(steps)
