"""The sessions that were signed out of in this process, whatever settings hold.

Their feeds end, and a copy of the cookie no longer opens a page. Other processes do not learn of them.
"""

from __future__ import annotations

from proxy_plugin_dashboard.session import Session

#: More are not remembered; the oldest go first.
_MOST = 1000
_ENDED: dict[str, None] = {}


def end(session: Session) -> None:
    _ENDED[session.id] = None
    while len(_ENDED) > _MOST:
        del _ENDED[next(iter(_ENDED))]


def has_ended(session: Session) -> bool:
    return session.id in _ENDED
