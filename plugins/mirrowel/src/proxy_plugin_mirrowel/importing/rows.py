"""The lines of the table: each says what became of one line or file of the old folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

Verdict = Literal["imported", "there already", "differs", "no meaning here"]


class Row(Struct, frozen=True, kw_only=True):
    """``what``: a file, or a variable with its file and line; ``note``: where it goes, or why it does not."""

    what: str
    verdict: Verdict
    note: str = ""


def count(rows: Iterable[Row]) -> str:
    """How many of each, in words."""
    verdicts: Sequence[Verdict] = ("imported", "there already", "differs", "no meaning here")
    listed = list(rows)
    numbers = {verdict: sum(row.verdict == verdict for row in listed) for verdict in verdicts}
    return ", ".join(f"{verdict}: {number}" for verdict, number in numbers.items() if number)
