"""Charts as shapes for an SVG: positions and words. Pure; colours and fonts are the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

WIDTH, HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 10, 26
_MOST_LABELS = 8
_WIDEST = 46.0
#: The ratio of a smaller figure to others may be infinite.
_NOTHING = 1e-12


class Point(Struct, frozen=True, kw_only=True):
    """One column: ``part`` of its ``value`` is set off, such as failures among all."""

    label: str
    value: float
    part: float = 0.0


class Column(Struct, frozen=True, kw_only=True):
    x: float
    y: float
    width: float
    height: float
    part_y: float
    part_height: float
    title: str


class Tick(Struct, frozen=True, kw_only=True):
    at: float
    label: str


class Chart(Struct, frozen=True, kw_only=True):
    """``part`` names what is set off, ``summary`` is for those who do not see it; the page
    has the figures as a table besides.
    """

    title: str
    part: str
    summary: str
    width: int
    height: int
    left: int
    right: int
    base: int
    columns: Sequence[Column]
    ticks: Sequence[Tick]
    labels: Sequence[Tick]


def columns(title: str, points: Sequence[Point], words: Callable[[float], str], *, part: str = "") -> Chart:
    """``words`` of a value, for the axis and the titles; ``part`` names what is set off."""
    top = ceiling(max((point.value for point in points), default=0.0))
    base, high = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(points))
    width = min(_WIDEST, step * 0.72)
    middle = [_LEFT + step * (index + 0.5) for index in range(len(points))]
    every = max(1, math.ceil(len(points) / _MOST_LABELS))
    found = [_column(p, x, width, base, high / top, words, part) for p, x in zip(points, middle, strict=True)]
    return Chart(
        title=title,
        part=part,
        summary=_summary(title, points, words),
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        base=base,
        columns=found,
        ticks=[Tick(at=round(base - high * share, 1), label=words(top * share)) for share in (0, 0.5, 1)],
        labels=[
            Tick(at=round(x, 1), label=point.label)
            for index, (point, x) in enumerate(zip(points, middle, strict=True))
            if (len(points) - 1 - index) % every == 0
        ],
    )


def _column(
    point: Point, middle: float, width: float, base: int, scale: float, words: Callable[[float], str], part: str
) -> Column:
    height, set_off = point.value * scale, min(point.part, point.value) * scale
    also = f", {words(point.part)} {part}" if part and point.part else ""
    return Column(
        x=round(middle - width / 2, 1),
        width=round(width, 1),
        y=round(base - height, 1),
        height=round(height, 1),
        part_y=round(base - set_off, 1),
        part_height=round(set_off, 1),
        title=f"{point.label}: {words(point.value)}{also}",
    )


def ceiling(value: float) -> float:
    """The least of 1, 1.5, 2, 3, 4, 6, 8, 10, 15, ... (and 0.1, ...) not below ``value``; 1 if it is next to 0."""
    if not math.isfinite(value) or value < _NOTHING:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def _summary(title: str, points: Sequence[Point], words: Callable[[float], str]) -> str:
    if not points:
        return f"{title}: nothing to show"
    most = max(points, key=lambda point: point.value)
    return f"{title}, {points[0].label} to {points[-1].label}; most on {most.label}: {words(most.value)}"
