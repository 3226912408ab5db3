"""Values as a terminal shows them. Pure."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len, set_cell_size

#: Whoever wrote a text, no more of it is looked at.
_MOST = 400


def clean(text: object) -> str:
    """One line without anything that a terminal obeys: escape sequences, marks that turn the writing direction."""
    shown = str(text)[:_MOST]
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def cut(text: str, width: int) -> str:
    """No wider than that on the screen, where a letter may take two columns."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"


def shortened(text: str, width: int) -> str:
    """No wider than that, without its middle: names of one kind differ at their ends."""
    if cell_len(text) <= width:
        return text
    end = text[-((width - 1) // 2) :]
    while cell_len(end) > width // 2:
        end = end[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(end)).rstrip()}…{end}"


def padded(text: str, width: int) -> str:
    return set_cell_size(cut(text, width), width)


def count(number: float) -> str:
    """``999``, ``12.3k``, ``4.5M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f}{unit}"
    return f"{number:,.0f}"


def counted(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def money(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.4f}"


def seconds(duration: float | None) -> str:
    if duration is None:
        return "-"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    return f"{duration:.1f} s" if duration < 100 else long(duration)


def long(duration: float) -> str:
    """``5 min``, ``2 h 5 min``, ``6 d 3 h``."""
    minutes = max(0, round(duration / 60))
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60 if minutes < 1440 else 0, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "under a minute"


def until(moment: datetime, now: datetime) -> str:
    """``15:40 (2 h 5 min)`` by the local clock; with the day, unless it is today."""
    return f"{at(moment, now)} ({long((moment - now).total_seconds())})"


def at(moment: datetime, now: datetime) -> str:
    there, here = moment.astimezone(), now.astimezone()
    if there.date() == here.date():
        return f"{there:%H:%M}"
    return f"{there:%a %d %b %H:%M}" if abs((moment - now).days) < 300 else f"{there:%Y-%m-%d}"
