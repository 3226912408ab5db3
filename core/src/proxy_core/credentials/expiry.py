"""When a token ends, in the ways in which other programs write it down."""

from __future__ import annotations

from datetime import UTC, datetime

#: Numbers below this are seconds since the epoch, above it milliseconds (seconds reach it in the year 5138).
_SECONDS_BELOW = 10**11


def token_expiry(value: object) -> datetime | None:
    """The expiry of a token, as files and variables write it: seconds, milliseconds, either as text, ISO 8601.

    ``None`` if it is missing, zero or unreadable; such a token is refreshed before use.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    try:
        return datetime.fromtimestamp(value if value < _SECONDS_BELOW else value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
