"""Values as people read them. Pure; texts are escaped by the template, here they are only cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_MOST = 240


def cut(text: object, most: int = _MOST) -> str:
    """One printable line, cut: a client or an upstream may have written it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def count(number: float) -> str:
    """``1,234``, ``12.3k``, ``4.5M``, ``128k``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (size if unit != 'k' else 1e3):.1f}".removesuffix(".0") + unit
    return f"{number:,.0f}"


def number(amount: float, one: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{count(amount)} {one}{'' if amount == 1 else 's'}"


def money(dollars: float | None) -> str:
    if dollars is None:
        return "-"
    return f"${dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.4f}"


def seconds(duration: float | None) -> str:
    """``340 ms``, ``2.1 s``, ``3 min``, ``4 h 10 min``, ``2 d 3 h``."""
    if duration is None:
        return "-"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 60:
        return f"{duration:.1f} s"
    minutes = round(duration / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def duration(seconds: float) -> str:
    """As ``seconds``, but exact below a second: ``0.043 ms``, ``12 ms``."""
    milliseconds = seconds * 1000
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.2g} ms"


def until(instant: datetime, now: datetime) -> str:
    """``in 12 min``. To the minute, so that a live page does not change every second."""
    left = (instant - now).total_seconds()
    if left <= 0:
        return "now"
    return "in less than a minute" if left < 60 else f"in {seconds(60 * int(left / 60))}"


def ago(instant: datetime, now: datetime) -> str:
    gone = (now - instant).total_seconds()
    return "just now" if gone < 60 else f"{seconds(60 * int(gone / 60))} ago"


def clock(instant: datetime, now: datetime) -> str:
    """In UTC, for readers without scripts; a script shows the reader's own time."""
    same_day = instant.astimezone(UTC).date() == now.astimezone(UTC).date()
    near = abs(instant - now) < timedelta(days=300)
    form = "%H:%M UTC" if same_day else "%d %b %H:%M UTC" if near else "%Y-%m-%d"
    return instant.astimezone(UTC).strftime(form)


def moment(instant: datetime, now: datetime) -> str:
    """The same to the second."""
    same_day = instant.astimezone(UTC).date() == now.astimezone(UTC).date()
    return instant.astimezone(UTC).strftime("%H:%M:%S UTC" if same_day else "%d %b %H:%M:%S UTC")


def iso(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


FILTERS: Mapping[str, Callable[..., Any]] = {
    "cut": cut,
    "count": count,
    "number": number,
    "money": money,
    "seconds": seconds,
    "duration": duration,
    "iso": iso,
    "clock": clock,
    "moment": moment,
    "until": until,
    "ago": ago,
}
