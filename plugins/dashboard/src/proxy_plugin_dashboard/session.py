"""Sessions without a memory: a signed cookie, so every worker and machine with the same admin key accepts it.

Pure: ``sign`` is the request's, the time is an argument. What is signed begins with what it is for, so no signature
can be used as another. A session ends after an hour without a page, at the latest after twelve, and when the admin
key changes.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

IDLE_S = 3600
LONGEST_S = 12 * 3600
#: A cookie is renewed at most this often.
_RENEW_S = 300

Sign = Callable[[bytes], bytes]


class Session(Struct, frozen=True, kw_only=True):
    """``began`` and ``expires`` are seconds since 1970. ``secure``: it began by TLS, so it is never sent without."""

    id: str
    began: int
    expires: int
    secure: bool


def begun(now: float, *, secure: bool) -> Session:
    return Session(id=secrets.token_urlsafe(24), began=int(now), expires=int(now) + IDLE_S, secure=secure)


def renewed(session: Session, now: float) -> Session | None:
    """``None`` if it is too early for it, or if the session has lasted as long as one may."""
    expires = min(int(now) + IDLE_S, session.began + LONGEST_S)
    if expires - session.expires < _RENEW_S:
        return None
    return replace(session, expires=expires)


def cookie_name(host: str) -> str:
    """Browsers send the cookies of one port to all others of that host, so each proxy's has a name of its own."""
    _, _, port = host.rpartition(":")
    return f"proxy_core_{port}" if port.isascii() and port.isdigit() else "proxy_core"


def set_cookie(name: str, session: Session, sign: Sign, now: float) -> str:
    """A value of ``Set-Cookie``."""
    value = _plain(session)
    return _cookie(name, f"{value}.{_signature(sign, 'session', value)}", session.expires - int(now), session.secure)


def delete_cookie(name: str, session: Session) -> str:
    return _cookie(name, "", 0, session.secure)


def session_of(cookies: str, name: str, sign: Sign, now: float) -> Session | None:
    """The valid session in a ``Cookie`` header."""
    for value in _values(cookies, name):
        session = _read(value, sign)
        if session is not None and session.began <= now + 60 and now < session.expires:
            return session
    return None


def csrf_token(session: Session, sign: Sign) -> str:
    """What every form of this session carries; pages of other sites cannot read it."""
    return _signature(sign, "form", session.id)


def is_csrf_token(token: str, session: Session, sign: Sign) -> bool:
    return hmac.compare_digest(token.encode(), csrf_token(session, sign).encode())


def _plain(session: Session) -> str:
    return f"{session.id}.{session.began}.{session.expires}.{int(session.secure)}"


def _signature(sign: Sign, purpose: str, text: str) -> str:
    return sign(f"{purpose}:{text}".encode()).hex()


def _read(value: str, sign: Sign) -> Session | None:
    plain, _, signature = value.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(sign, "session", plain).encode()):
        return None
    name, began, expires, secure = plain.split(".")  # it is ours: the signature is right
    return Session(id=name, began=int(began), expires=int(expires), secure=secure == "1")


def _values(cookies: str, name: str) -> Iterator[str]:
    for pair in cookies.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            yield value


def _cookie(name: str, value: str, max_age_s: int, secure: bool) -> str:
    end = "; Secure" if secure else ""
    return f"{name}={value}; Max-Age={max_age_s}; Path=/admin/ui; HttpOnly; SameSite=Strict{end}"
