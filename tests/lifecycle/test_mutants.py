"""Whoever breaks a guard hears of it: each mutant turns a checker red, for the reason given."""

import pytest
from django.db.models import F

from async_reply.status import ACTIVE, Status
from tests.lifecycle import mutants
from tests.lifecycle.checker import Checker
from tests.lifecycle.mutants import Mutation, mutated, without
from tests.lifecycle.rules import Violation

pytestmark = pytest.mark.mutants

OWN = "writes only while the claim is its own"
FINISHES = ("succeed", "fail", "end_canceled", "retry", "release")


@pytest.mark.parametrize(
    ("mutation", "functions", "rule"),
    [
        pytest.param(
            mutants.or_lost(*ACTIVE), ["claim"], "only what is pending", id="claim-by-lease"
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
            without("version"), ["claim"], "knows its attempt", id="claim-with-any-snapshot"
        ),
        pytest.param(without("status__in"), ["beat"], OWN, id="beat-by-attempt"),
        pytest.param(
            without("lease_expires_at__lte"),
            ["rescue"],
            "not over is not taken",
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
        pytest.param(without("status__in"), ["bury"], "no unfinished row", id="bury-unfinished"),
        pytest.param(without("purge_at__lte"), ["bury"], "purge waits", id="bury-early"),
        pytest.param(without("publishes"), ["reserve"], "nobody else's", id="reserve-twice"),
        pytest.param(without("publishes"), ["unreserve"], "by its owner", id="unreserve-others"),
        pytest.param(without("status"), ["cancel"], "no arrow|terminal", id="cancel-anything"),
    ],
)
def test_checker__sees_a_broken_guard(mutation: Mutation, functions: list[str], rule: str) -> None:
    with mutated(mutation, *functions), pytest.raises(Violation, match=rule):
        Checker(workers=2, hands=1, messages=2).explore()
