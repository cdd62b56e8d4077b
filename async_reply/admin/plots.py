"""Lays out plots of figures over time. A template draws them as SVG.

Pure: it needs no request and no table. The browser stretches a drawing to the width of the page. So
a drawing holds no text: the labels of its axes stand beside it as HTML, and keep their size.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil, floor, log10
from typing import Any

from django.utils.translation import gettext as _

#: The size of a drawing in its own units.
WIDTH = 600
HEIGHT = 120
#: The tops of a linear axis, up to a power of ten. Half of each is a round number, too.
ROUND_TOPS = (1, 2, 4, 10)
LEAST_TOP = 2
#: The most labels of a logarithmic axis, beside the lowest one.
MAX_DECADES = 4

Format = Callable[[float], str]
Value = float | None


@dataclass(frozen=True)
class Series:
    """Values by step. None: there is no value in this step."""

    #: The end of its CSS class.
    name: str
    label: Any
    values: Sequence[Value]


@dataclass(frozen=True)
class Scale:
    """Where a value stands between the bottom and the top of a drawing."""

    bottom: float
    top: float
    #: The values with a label, from the top to the bottom. The distances between them are equal.
    ticks: tuple[float, ...]
    is_logarithmic: bool = False

    def y(self, value: float) -> float:
        """The distance from the top of the drawing."""
        value = min(max(value, self.bottom), self.top)
        if self.is_logarithmic:
            share = log10(value / self.bottom) / log10(self.top / self.bottom)
        else:
            share = (value - self.bottom) / (self.top - self.bottom)
        return round(HEIGHT * (1 - share), 1)


@dataclass(frozen=True)
class Line:
    """Values as a path. Each value is a level over its step."""

    name: str
    path: str


@dataclass(frozen=True)
class Bar:
    """A part of the sum of a step."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Step:
    """A step with values: the place over which the browser tells them, and its row of the table."""

    x: float
    width: float
    start: str
    values: list[str]
    text: str


@dataclass(frozen=True)
class Plot:
    """A drawing, the labels of its axes, and the same figures as a table."""

    title: Any
    #: Says for those who do not see the drawing what it shows.
    summary: str
    series: Sequence[Series]
    #: From the left to the right, and from the top to the bottom.
    x_labels: list[str]
    steps: list[Step]
    y_labels: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def grid(self) -> list[float]:
        """The distances of the labels from the top."""
        gaps = max(1, len(self.y_labels) - 1)
        return [round(self.height * number / gaps, 1) for number in range(len(self.y_labels))]


@dataclass(frozen=True)
class Axis:
    """The steps of a plot, with the texts of their starts."""

    starts: Sequence[datetime]
    format: Callable[[datetime], str]

    @property
    def labels(self) -> list[str]:
        """The first step, the one in the middle and the last one."""
        numbers = sorted({0, len(self.starts) // 2, len(self.starts) - 1})
        return [self.format(self.starts[number]) for number in numbers]


def lines(
    title: Any,
    series: Sequence[Series],
    *,
    axis: Axis,
    scale: Scale,
    format: Format,
    tick_format: Format | None = None,
) -> Plot:
    """A plot of one line for each series."""
    drawn = [Line(one.name, path(one.values, scale)) for one in series]
    plot = _plot(title, series, axis=axis, format=format)
    labels = [(tick_format or format)(tick) for tick in scale.ticks]
    return replace(plot, lines=drawn, y_labels=labels)


def stacked(title: Any, series: Sequence[Series], *, axis: Axis, format: Format) -> Plot:
    """A plot of one bar for each step. It adds up the series, the first one at the bottom."""
    scale = linear(sum(value or 0 for value in values) for values in _by_step(series))
    bars = [
        bar
        for number, values in enumerate(_by_step(series))
        for bar in _stack(number, values, series=series, scale=scale)
    ]
    plot = _plot(title, series, axis=axis, format=format)
    return replace(plot, bars=bars, y_labels=[format(tick) for tick in scale.ticks])


def linear(values: Iterable[Value]) -> Scale:
    """From 0 to a round number that no value exceeds."""
    highest = max((value for value in values if value is not None), default=0)
    highest = max(highest, LEAST_TOP)
    power = 10.0 ** floor(log10(highest))
    top = next(power * factor for factor in ROUND_TOPS if power * factor >= highest)
    return Scale(0, top, (top, top / 2, 0))


def logarithmic(values: Iterable[Value], *, least: float) -> Scale:
    """From one power of ten to another. Values below `least` stand at the bottom."""
    numbers = [max(value, least) for value in values if value is not None] or [1.0]
    low, high = floor(log10(min(numbers))), ceil(log10(max(numbers)))
    high = max(high, low + 1)
    stride = ceil((high - low) / MAX_DECADES)
    high = low + stride * ceil((high - low) / stride)
    ticks = tuple(10.0**power for power in range(high, low - 1, -stride))
    return Scale(10.0**low, 10.0**high, ticks, is_logarithmic=True)


def path(values: Sequence[Value], scale: Scale) -> str:
    """The path of a line. It has a gap where there is no value."""
    parts: list[str] = []
    is_begun = False
    for number, value in enumerate(values):
        if value is not None:
            y = f"{scale.y(value):g}"
            parts.append(f"V{y}" if is_begun else f"M{_x(number, values):g} {y}")
            parts.append(f"H{_x(number + 1, values):g}")
        is_begun = value is not None
    return "".join(parts)


def _plot(title: Any, series: Sequence[Series], *, axis: Axis, format: Format) -> Plot:
    """A plot without its drawing."""
    steps = list(_steps(series, axis=axis, format=format))
    return Plot(title, _summary(series, format), series, axis.labels, steps)


def _steps(series: Sequence[Series], *, axis: Axis, format: Format) -> Iterable[Step]:
    """The steps in which a value is not 0."""
    for number, values in enumerate(_by_step(series)):
        if not any(values):
            continue
        texts = ["" if value is None else format(value) for value in values]
        start = axis.format(axis.starts[number])
        named = ", ".join(
            f"{one.label} {text}" for one, text in zip(series, texts, strict=True) if text
        )
        x = _x(number, axis.starts)
        width = round(_x(number + 1, axis.starts) - x, 1)
        yield Step(x, width, start, texts, f"{start}: {named}")


def _summary(series: Sequence[Series], format: Format) -> str:
    """The least and the greatest value of each series."""
    texts = []
    for one in series:
        values = [value for value in one.values if value is not None]
        if values:
            least, greatest = format(min(values)), format(max(values))
            text = _("%(name)s from %(least)s to %(greatest)s")
            texts.append(text % {"name": one.label, "least": least, "greatest": greatest})
    return ", ".join(texts)


def _stack(
    number: int, values: Sequence[Value], *, series: Sequence[Series], scale: Scale
) -> Iterable[Bar]:
    x, gap = _x(number, series[0].values), 0.1 * WIDTH / len(series[0].values)
    width = round(_x(number + 1, series[0].values) - x - gap, 1)
    below = 0.0
    for one, value in zip(series, values, strict=True):
        if value:
            y = scale.y(below + value)
            yield Bar(one.name, x, y, width, round(scale.y(below) - y, 1))
            below += value


def _by_step(series: Sequence[Series]) -> Iterable[tuple[Value, ...]]:
    return zip(*(one.values for one in series), strict=True)


def _x(number: int, steps: Sequence[object]) -> float:
    return round(WIDTH * number / len(steps), 1)
