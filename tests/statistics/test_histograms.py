import pytest

from async_reply.statistics.histograms import Histogram, bin_of, lower_bound


@pytest.mark.parametrize(
    ("seconds", "number"), [(1, 0), (1.18, 0), (1.2, 1), (2, 4), (0.5, -4), (3600, 47), (0, -40)]
)
def test_bin_of(seconds: float, number: int) -> None:
    assert bin_of(seconds) == number
    assert lower_bound(number) <= max(seconds, 0.001) < lower_bound(number + 1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95, 0.99, 1.0])
def test_quantile__is_right_to_a_fifth(share: float) -> None:
    durations = [1.07**index for index in range(200)]
    exact = durations[min(199, int(share * 200))]
    estimate = Histogram.of(durations).quantile(share)
    assert estimate is not None
    assert exact / 1.2 <= estimate <= exact * 1.2


def test_quantile__of_two_heaps_is_none_between_them() -> None:
    histogram = Histogram.of([1] * 50 + [60] * 50)
    assert histogram.quantile(0.4) == pytest.approx(1, rel=0.2)
    assert histogram.quantile(0.6) == pytest.approx(60, rel=0.2)


def test_quantile__without_durations() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram({3: 0}).quantile(0.5) is None


def test_json__returns_the_same_histogram() -> None:
    histogram = Histogram.of([0.1, 1, 1, 100])
    assert Histogram.from_json(histogram.to_json()) == histogram
    assert list(histogram.to_json().values()) == [1, 2, 1]


def test_cumulative() -> None:
    assert Histogram.of([0.3, 1, 3, 3, 9]).cumulative([-4, 0, 8, 16]) == [1, 1, 4, 5]
