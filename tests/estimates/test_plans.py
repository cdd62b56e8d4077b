"""Plans of polls, and the laws of durations that they are computed from."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_reply.estimates import laws, plans
from benchmarks import queues
from benchmarks.laws import HELD_OUT, LAWS, Law, lognormal
from benchmarks.schedules import ratios

FIXED = ("1 s", "5 s", "30 s", "doubling")

seconds = st.floats(min_value=0, max_value=1e7, allow_nan=False)
histories = st.one_of(
    st.lists(seconds, max_size=150),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 60.0]), max_size=150),
    st.builds(lambda value, count: [value] * count, seconds, st.integers(0, 300)),
)


@given(histories, seconds)
def test_retry_after__is_a_whole_number_of_seconds(past: list[float], elapsed: float) -> None:
    wait = plans.retry_after(past, elapsed)
    assert type(wait) is int
    assert wait >= 1


@given(histories.filter(bool), seconds)
def test_retry_after__takes_any_sequence_and_a_negative_time(
    past: list[float], elapsed: float
) -> None:
    assert plans.retry_after(tuple(past), elapsed) == plans.retry_after(past, elapsed)
    assert plans.retry_after(past, -1) == plans.retry_after(past, 0)


@given(histories.filter(bool), st.floats(0, 1e6))
def test_law__is_a_distribution(past: list[float], step: float) -> None:
    law = laws.Law(past)
    values = [law.at(index * step / 7) for index in range(30)]
    assert all(earlier[0] <= later[0] + 1e-9 for earlier, later in pairwise(values))
    assert all(earlier[1] <= later[1] * (1 + 1e-9) + 1e-6 for earlier, later in pairwise(values))
    assert law.at(-1) == (0, 0)
    assert law.at(1e15)[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("moment", [3, 10, 50])
def test_tail__is_continuous_at_a_power_of_one(moment: float) -> None:
    exact = laws.Tail(10, power=1).at(moment)
    nearly = laws.Tail(10, power=1.0001).at(moment)
    assert exact == pytest.approx(nearly, rel=1e-3)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=100), st.floats(0, 1e6))
def test_eta__is_never_negative(past: list[float], elapsed: float) -> None:
    remaining = plans.eta(past, elapsed)
    assert remaining is not None
    assert remaining >= 0


def test_eta__is_fractional() -> None:
    assert plans.eta([0.4] * 50, 0.1) == pytest.approx(0.3, abs=0.01)
    assert plans.eta([], 3) is None


@pytest.mark.parametrize("duration", [1, 7, 10, 60, 3600])
def test_retry_after__meets_a_constant_duration(duration: float) -> None:
    """The poll comes in the second of the end, or late by less than the price of a poll."""
    past = [duration] * 100
    price = plans.price(duration)
    for elapsed in (0, 0.4):
        late = elapsed + plans.retry_after(past, elapsed) - duration
        assert 0 <= late < max(1, price)
    assert plans.retry_after(past, duration - 1) < 1 + price


def test_retry_after__grows_without_any_durations() -> None:
    polls = [0]
    while polls[-1] < 3600:
        polls.append(polls[-1] + plans.retry_after((), polls[-1]))
    waits = [later - earlier for earlier, later in pairwise(polls)]
    assert waits == sorted(waits)
    assert len(polls) < 35


def test_retry_after__grows_after_the_longest_duration() -> None:
    past = [random.Random(3).lognormvariate(2, 0.5) for _ in range(100)]
    waits = [plans.retry_after(past, elapsed) for elapsed in (200, 1000, 10_000, 1e6)]
    assert waits == sorted(set(waits))
    assert waits[-1] < 1e6


def test_retry_after__is_longer_for_slower_kinds() -> None:
    past = [random.Random(3).lognormvariate(2, 0.5) for _ in range(100)]
    first = [plans.retry_after([duration * scale for duration in past], 0) for scale in (1, 4, 16)]
    assert first == sorted(set(first))


def test_solve__no_other_next_poll_is_better() -> None:
    """Compares with the full costs. `solve` leaves out a term that all moments share."""
    law = laws.Law([random.Random(5).lognormvariate(2, 0.8) for _ in range(40)])
    moments = range(80)
    values = [law.at(moment) for moment in moments]
    finished, spent = [value[0] for value in values], [value[1] for value in values]
    following = plans.solve(moments, finished, spent, cost=0.5, rest=0.1)
    cost_after = [0.0] * 79 + [0.1]
    for index in range(78, -1, -1):
        costs = [
            cost_after[later]
            + 0.5 * (1 - finished[index])
            + later * (finished[later] - finished[index])
            - (spent[later] - spent[index])
            for later in range(index + 1, 80)
        ]
        cost_after[index] = min(costs)
        assert costs[following[index] - index - 1] == pytest.approx(cost_after[index], abs=1e-9)


@pytest.mark.parametrize("law", [*LAWS, *HELD_OUT], ids=lambda law: law.name)
def test_retry_after__costs_little_more_than_the_best_schedule(law: Law) -> None:
    """The bounds of docs/polling.rst, with fewer draws than `make polling`."""
    costs = ratios(law, plans.retry_after, draws=8, operations=150)
    assert costs["computed"] <= 1.3
    assert costs["jittered"] <= 1.35
    assert costs["computed"] <= min(costs[name] for name in FIXED) * 1.03


def test_without_drift__removes_a_trend() -> None:
    chance = random.Random(2)
    past = [10 * 1.02**index * chance.uniform(0.9, 1.1) for index in range(100)]
    now = laws.without_drift(past)
    assert len(now) == 100
    assert min(now) > 10 * 1.02**99 * 0.8
    assert max(now) < 10 * 1.02**99 * 1.25


def test_without_drift__rarely_changes_durations_without_a_trend() -> None:
    chance = random.Random(2)
    law = lognormal(10, 1)
    samples = [[law(chance.random()) for _ in range(100)] for _ in range(300)]
    assert sum(laws.without_drift(past) is not past for past in samples) <= 6


def test_without_drift__three_long_durations_at_the_end_are_no_trend() -> None:
    past = [*([1.0, 1.1, 0.9] * 30), 60.0, 61.0, 59.0]
    assert laws.without_drift(past) is past


def test_blend__seen_durations_replace_the_expected_ones() -> None:
    assert plans.blend((3.0,), None) == (3.0,)
    assert plans.blend((), 10) == (10, 6, 16)
    assert plans.blend((3.0,) * 4, 10) == (10, 6, 3, 3, 3, 3)
    assert plans.blend((3.0,) * 9, 10) == (3.0,) * 9
    assert plans.retry_after(plans.blend((), 300), 0) > 60


def test_weigh__own_progress_counts_more_the_further_it_is() -> None:
    assert plans.by_progress(10, 25) == 30
    assert plans.weigh(5, 30, 1) == pytest.approx(5.25)
    assert plans.weigh(5, 30, 100) == 30


@pytest.mark.parametrize("case", queues.CASES, ids=lambda case: case.name)
def test_queue__needs_few_polls_and_learns_of_the_end_soon(case: queues.Case) -> None:
    jobs = queues.run(case)
    polls, late = queues.simulate(jobs, queues.whole_seconds)
    _, late_by_guess = queues.simulate(jobs, queues.whole_seconds, error=0.3)
    price = max(0.25, 0.05 * sorted(jobs.services)[len(jobs.services) // 2])
    assert polls <= 6
    # Whole seconds cost half a second. The rest is in proportion to the price of a poll.
    assert late <= 0.5 + 4 * price
    assert late_by_guess <= 0.6 + 4 * price


def test_queue__fractions_of_seconds_suit_short_jobs() -> None:
    """Two workers and 1,344 jobs. One poll a second would make 73 polls and be 0.5 s late."""
    jobs = queues.run(queues.CASES[-1])
    polls, late = queues.simulate(jobs, queues.fractions)
    assert polls <= 6
    assert late < 0.3
    polls, late = queues.simulate(jobs, queues.fractions, error=0.3)
    assert polls <= 6
    assert late < 0.6


def test_jitter__spreads_waits_and_is_equal_for_equal_seeds() -> None:
    waits = [plans.jitter(600, 7.5, random.Random(seed).getrandbits(62)) for seed in range(999)]
    assert set(waits) == set(range(600, 609))
    assert max(map(waits.count, waits)) < 200
    assert plans.jitter(600, 7.5, 5**20) == plans.jitter(600, 7.5, 5**20)
    assert {plans.jitter(1, 0.5, seed) for seed in range(99999)} == {1}


@pytest.mark.parametrize("past", [[0.4], [3.0, 1.0, 8.0], [float(n) for n in range(1, 60)]])
def test_eta__at_the_start_is_that_of_a_moment_later(past: list[float]) -> None:
    for _ in range(2):
        assert plans.eta(past, 0) == pytest.approx(plans.eta(past, 1e-9), abs=1e-4)
