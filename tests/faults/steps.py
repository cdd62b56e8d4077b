"""The shape of the job of steps, for the job and for its judges."""

KIND = "faults.steps"
STEPS = 20
ITEMS = 30


def is_atomic(number: int) -> bool:
    """Whether the step of this number writes a row in one transaction with the step."""
    return number % 2 == 1
