"""Adding an account: what a provider accepts, what is to know first, and the begin of a login. In a thread."""

from __future__ import annotations

from collections.abc import Sequence

import click
from msgspec import Struct

from proxy_core import LoginMethod, SetupError
from proxy_plugin_accounts import about, checked_name
from proxy_plugin_dashboard import logins
from proxy_plugin_dashboard.operations import file_words, opened
from proxy_plugin_dashboard.page import Asked
from proxy_plugin_dashboard.security import is_loopback

_WORDS: dict[LoginMethod, str] = {
    "browser": "In this browser",
    "paste": "In a browser, then paste the result here",
    "device": "With a code, on any device",
}


class Choice(Struct, frozen=True, kw_only=True):
    """How an account of ``provider`` can be added. ``about`` has to be confirmed before a login."""

    provider: str
    takes_keys: bool = False
    can_login: bool = False
    about: Sequence[str] = ()
    methods: Sequence[tuple[str, str]] = ()
    problem: str = ""


def choice(asked: Asked, provider: str) -> Choice:
    try:
        accounts = opened(asked)
        found = accounts.provider(provider)
    except (SetupError, click.ClickException) as error:
        return Choice(
            provider=provider, problem=error.message if isinstance(error, click.ClickException) else str(error)
        )
    refresher = accounts.refresher(found)
    can_login = refresher is not None and refresher.login is not None
    return Choice(
        provider=found.name,
        takes_keys=found.credential_kind == "api_key" or found.accepts_api_keys,
        can_login=can_login,
        about=_lines(about(found, refresher)) if refresher is not None and can_login else (),
        methods=_methods(asked, refresher.login_methods) if refresher is not None else (),
    )


def _lines(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in text.splitlines() if line.strip()]


def _methods(asked: Asked, offered: Sequence[LoginMethod]) -> list[tuple[str, str]]:
    """A provider's page leads a browser back to this machine, so that works only for a browser that is on it."""
    here = is_loopback(asked.request.headers.get("host", ""))
    return [(method, _WORDS[method]) for method in offered if here or method != "browser"]


def began(asked: Asked) -> tuple[logins.Login | None, str]:
    """The login that the form asks for, or why there is none."""
    form = asked.form
    wanted = choice(asked, form.get("provider", ""))
    if wanted.problem or not wanted.can_login:
        return None, wanted.problem or f"{wanted.provider} has no login."
    if form.get("understood") != "yes":
        return None, "Confirm first that you have read what the provider's terms say."
    offered = [value for value, _ in wanted.methods]
    method = next((method for method in _WORDS if method in offered and method == form.get("method")), None)
    login = logins.Login(
        id=logins.new_id(),
        provider=wanted.provider,
        name=form.get("name", "").strip() or None,
        method=method,
        headless=method != "browser",
    )
    accounts = opened(asked)
    try:
        checked_name(accounts.vault, wanted.provider, login.name)
        logins.begin(asked.logins, accounts, accounts.provider(wanted.provider), login)
    except click.ClickException as error:
        return None, error.message
    except OSError as error:
        return None, file_words(error)
    return login, ""
