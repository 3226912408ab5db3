"""The result of an authorization page: in the query of a redirect, or pasted by the user."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

from proxy_core import repr_without

_OTHER = "this does not belong to the login that was started here (its state differs)"


class Callback(Struct, frozen=True, kw_only=True):
    """``code``, or the ``error`` that the server returned instead."""

    __repr__ = repr_without("code")

    code: str | None = None
    error: str | None = None


def read_pasted(text: str, state: str) -> Callback:
    """Read the redirect's URL, its query or fragment, or the bare code; surrounding blanks are ignored.

    A bare code has no state, but PKCE binds it to this login; any state that is present must
    be ``state``. Raises ``ValueError`` that says what is wrong, without the code.
    """
    text = "".join(text.split())
    query = text
    if "://" in text:
        parts = urlsplit(text)
        query = parts.query or parts.fragment
        if not query:
            raise ValueError("that URL contains no code")
    query = query.lstrip("?#&")
    if "code=" not in query and "error=" not in query:
        if not query or "=" in query.rstrip("=") or "&" in query:
            raise ValueError("that contains no code")
        # Some pages show the code together with the state, as "code#state".
        code, joined, given = query.partition("#")
        if joined and not hmac.compare_digest(given.encode(), state.encode()):
            raise ValueError(_OTHER)
        return _with_code(unquote(code))
    return read_query(query, state, state_needed="state=" in query)


def read_query(query: str, state: str, *, state_needed: bool = True) -> Callback:
    """Read a redirect's query. Raises ``ValueError`` unless it has exactly one state, equal to ``state``."""
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    if any(len(fields.get(name, ())) > 1 for name in ("code", "state", "error")):
        raise ValueError("a parameter appears twice")
    given = fields.get("state", [""])[0]
    if state_needed and not hmac.compare_digest(given.encode(), state.encode()):
        raise ValueError(_OTHER)
    if fields.get("error", [""])[0]:
        words = " ".join(part for name in ("error", "error_description") for part in fields.get(name, ()))
        return Callback(error="".join(c if c.isprintable() else " " for c in words)[:200])
    return _with_code(fields.get("code", [""])[0])


def _with_code(code: str) -> Callback:
    if not code or len(code) > 4096 or not code.isascii() or not code.isprintable():
        raise ValueError("that contains no code")
    return Callback(code=code)
