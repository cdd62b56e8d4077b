"""The lifecycle on a real database, in random order. The interpreter predicts each UPDATE.

By default the runs are short and always the same. HYPOTHESIS_PROFILE=full makes 500 random runs of
50 steps.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lifecycle.asking_machine import AskingMachine

FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"

PROFILE = settings(
    max_examples=500 if FULL else 40,
    stateful_step_count=50 if FULL else 30,
    derandomize=not FULL,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink) if FULL else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.django_db(transaction=True)
def test_lifecycle__keeps_every_rule_in_a_database() -> None:
    run_state_machine_as_test(AskingMachine, settings=PROFILE)
