from datetime import UTC, datetime, timedelta

import pytest

from async_reply.admin import plots
from async_reply.admin.plots import HEIGHT, Axis, Bar, Scale, Series, Value

START = datetime(2026, 5, 4, 12, tzinfo=UTC)


def axis(steps: int) -> Axis:
    starts = [START + timedelta(minutes=number) for number in range(steps)]
    return Axis(starts, lambda start: f"{start:%H:%M}")


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([], (2, 1, 0)),
        ([None, 0.0], (2, 1, 0)),
        ([1.0, 2.0], (2, 1, 0)),
        ([3.0], (4, 2, 0)),
        ([4.1, None], (10, 5, 0)),
        ([10.0], (10, 5, 0)),
        ([11.0], (20, 10, 0)),
        ([100.0], (100, 50, 0)),
        ([1234.0], (2000, 1000, 0)),
    ],
)
def test_linear__ends_at_a_round_number(
    values: list[Value], ticks: tuple[float, float, float]
) -> None:
    scale = plots.linear(values)
    assert (scale.ticks, scale.bottom, scale.top) == (ticks, 0, ticks[0])


@pytest.mark.parametrize(
    ("values", "powers"),
    [
        ([], (1, 0)),
        ([1.0], (1, 0)),
        ([3.0, 40.0], (2, 1, 0)),
        ([0.00001, 0.5], (0, -1, -2, -3)),
        ([0.001, 50_000.0], (5, 3, 1, -1, -3)),
        ([0.01, 5_000.0, None], (4, 2, 0, -2)),
        ([0.001, 5_000.0], (5, 3, 1, -1, -3)),
    ],
)
def test_logarithmic__holds_all_values_between_powers_of_ten(
    values: list[Value], powers: tuple[int, ...]
) -> None:
    scale = plots.logarithmic(values, least=0.001)
    assert scale.ticks == pytest.approx([10.0**power for power in powers])
    assert (scale.top, scale.bottom) == pytest.approx((scale.ticks[0], scale.ticks[-1]))
    assert len(scale.ticks) <= plots.MAX_DECADES + 1


@pytest.mark.parametrize(
    ("scale", "value", "share"),
    [
        (Scale(0, 10, ()), 0, 0),
        (Scale(0, 10, ()), 2.5, 0.25),
        (Scale(0, 10, ()), 10, 1),
        (Scale(0.1, 10, (), is_logarithmic=True), 1, 0.5),
        (Scale(0.1, 10, (), is_logarithmic=True), 0.01, 0),
    ],
)
def test_scale__places_a_value(scale: Scale, value: float, share: float) -> None:
    assert scale.y(value) == HEIGHT * (1 - share)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], ""),
        ([None, None], ""),
        ([0.0, 10.0], "M0 120H300V0H600"),
        ([10.0, None, 5.0], "M0 0H200M400 60H600"),
    ],
)
def test_path__has_a_level_for_each_value_and_a_gap_for_none(
    values: list[Value], path: str
) -> None:
    assert plots.path(values, Scale(0, 10, ())) == path


def test_stacked__adds_up_and_tells_the_steps_with_values() -> None:
    series = [Series("good", "Good", [6, 0, 1]), Series("bad", "Bad", [4, 0, 0])]
    plot = plots.stacked("Work", series, axis=axis(3), format=lambda value: f"{value:.0f}")
    assert plot.bars == [
        Bar("good", 0, 48, 180, 72),
        Bar("bad", 0, 0, 180, 48),
        Bar("good", 400, 108, 180, 12),
    ]
    assert [(step.x, step.width, step.text) for step in plot.steps] == [
        (0, 200, "12:00: Good 6, Bad 4"),
        (400, 200, "12:02: Good 1, Bad 0"),
    ]
    assert (plot.y_labels, plot.grid) == (["10", "5", "0"], [0, 60, 120])
    assert plot.x_labels == ["12:00", "12:01", "12:02"]
    assert plot.summary == "Good from 0 to 6, Bad from 0 to 4"


def test_lines__have_a_path_for_each_series_and_texts_for_ticks_and_values() -> None:
    series = [Series("p50", "half", [1.0, None]), Series("p99", "most", [10.0, None])]
    plot = plots.lines(
        "Wait",
        series,
        axis=axis(2),
        scale=plots.logarithmic([1.0, 10.0], least=0.001),
        format=lambda value: f"{value} s",
        tick_format=lambda value: f"{value:.0f}",
    )
    assert [(line.name, line.path) for line in plot.lines] == [
        ("p50", "M0 120H300"),
        ("p99", "M0 0H300"),
    ]
    assert plot.y_labels == ["10", "1"]
    assert [(step.start, step.values) for step in plot.steps] == [("12:00", ["1.0 s", "10.0 s"])]


@pytest.mark.parametrize(("steps", "labels"), [(1, 1), (2, 2), (3, 3), (60, 3)])
def test_axis__labels_are_few_and_in_order(steps: int, labels: int) -> None:
    texts = axis(steps).labels
    assert (len(texts), texts) == (labels, sorted(texts))
