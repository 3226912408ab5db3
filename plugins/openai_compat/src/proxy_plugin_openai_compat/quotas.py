"""How much quota a key has left, at vendors that have a page for that: where its figures are is data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

from msgspec import Struct, field

from proxy_core import Credential, HttpClient, QuotaWindow, RotationSettings, UpstreamBroken, UpstreamRequest, load_json

#: The quota group of all models: these vendors count per key.
GROUP = "all"
#: Of a window of which only a share is told, this many requests are assumed.
_OF_A_SHARE = 1000
_FOUND, _NO_SUCH_PAGE = 200, 404
#: The year 3000. From here on, a number is milliseconds.
_LATEST_S = 32503680000.0


class Figures(Struct, frozen=True, kw_only=True):
    """Where the figures of one window are: paths into the JSON, with dots; an empty one is not there.

    ``share`` is the used part, 0 to 1. Without ``resets`` the window ends at 00:00 UTC. ``window``: as in the rotation.
    """

    window: str = ""
    limit: str = ""
    used: str = ""
    left: str = ""
    share: str = ""
    resets: str = ""


class QuotaPage(Struct, frozen=True, kw_only=True):
    """``url`` is relative to the base URL, or complete. ``rotation``: the vendor's windows."""

    url: str
    figures: tuple[Figures, ...]
    rotation: RotationSettings = field(default_factory=RotationSettings)


def page_url(page: QuotaPage, base: str, own: str) -> str | None:
    """``None`` if the page is on a host of the vendor's, but requests go to another one: it has not given the key."""
    url = urljoin(base + "/", page.url)
    return None if base != own and url == page.url else url


async def ask(
    page: QuotaPage, url: str, headers: Sequence[tuple[str, str]], credential: Credential, http: HttpClient
) -> Sequence[QuotaWindow]:
    """``AskQuota``. Raises ``UpstreamBroken`` for an answer without figures."""
    authorization = ("authorization", f"Bearer {credential.secret.get_secret_value()}")
    answer = await http(UpstreamRequest(method="GET", url=url, headers=[authorization, *headers]))
    if answer.status == _NO_SUCH_PAGE:
        return []  # a gateway to the vendor
    if answer.status != _FOUND:
        raise UpstreamBroken(f"the vendor answered with status {answer.status}")
    return quota_windows(page, answer.body, datetime.now(UTC))


def quota_windows(page: QuotaPage, body: bytes, now: datetime) -> list[QuotaWindow]:
    """One window for each that the answer has. Raises ``UpstreamBroken`` if it is no JSON object."""
    try:
        content = load_json(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UpstreamBroken("the vendor answered with no JSON object")
    found = (_window(figures, content, now) for figures in page.figures)
    return [window for window in found if window is not None]


def _window(figures: Figures, content: dict[str, Any], now: datetime) -> QuotaWindow | None:
    """``None`` for one that is not there, or has not begun."""
    limit, used, left, share = (
        _number(content, path) for path in (figures.limit, figures.used, figures.left, figures.share)
    )
    if share is not None:
        limit, used = _OF_A_SHARE, round(share * _OF_A_SHARE)
    if limit is None and used is not None and left is not None:
        limit = used + left
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    resets_at = _instant(_at(content, figures.resets)) if figures.resets else midnight
    if used is None or resets_at is None:
        return None
    return QuotaWindow(limit=limit, used=used, resets_at=resets_at, group=GROUP, window=figures.window)


def _at(content: object, path: str) -> object:
    for name in path.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _number(content: dict[str, Any], path: str) -> float | None:
    value = _at(content, path) if path else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _instant(value: object) -> datetime | None:
    """From seconds or milliseconds since 1970, or RFC 3339."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > _LATEST_S else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
