"""What the page of accounts changes: by the functions of the command line, in a thread, and then a reload.

Each returns an :class:`Outcome`: whether it worked, and what happened in words. None of them blocks the event loop,
whatever an upstream does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from msgspec import Struct, json
from msgspec.structs import replace

from proxy_core import CallResponse, ProxyError, SettingsError, SetupError
from proxy_core.cli.api import VaultProblem
from proxy_plugin_accounts import Account, Accounts, accounts_of, keys_in, renew, set_disabled, store_keys, try_all
from proxy_plugin_dashboard.page import Asked
from proxy_plugin_dashboard.views.accounts_model import Known, Today, Unlent, standing_of
from proxy_plugin_dashboard.views.standing import Standing
from proxy_plugin_dashboard.words import clock

#: Less than the time in which a page has to answer.
_ASK_S = 25.0


class Outcome(Struct, frozen=True, kw_only=True):
    """``changed``: the running proxy has to read the accounts again."""

    good: bool
    words: str
    more: tuple[str, ...] = ()
    changed: bool = False


# --- Reading -----------------------------------------------------------------------------


def opened(asked: Asked) -> Accounts:
    """The accounts under these settings; in a thread. Raises ``SetupError``."""
    there = asked.kept.get("accounts")
    if there is None:
        there = asked.kept["accounts"] = accounts_of(asked.request.settings)
    assert isinstance(there, Accounts)
    return there


def known(asked: Asked) -> Known:
    """What the status does not say about accounts; in a thread, because it reads the vault."""
    try:
        accounts = opened(asked)
        found = [_unlent(account) for name in accounts.names() for account in accounts.of(name)]
    except (SetupError, VaultProblem, OSError) as error:
        return Known(problem=str(error))
    providers = accounts.catalog.providers.values()
    return Known(
        credentials=found,
        by_id={(one.provider, one.id): one for one in found},
        logins=frozenset(p.name for p in providers if (r := accounts.refresher(p)) is not None and r.login is not None),
        keys=frozenset(p.name for p in providers if p.credential_kind == "api_key" or p.accepts_api_keys),
    )


def _unlent(account: Account) -> Unlent:
    stored = account.stored
    known_expiry = stored is not None and stored.expires_at is not None and stored.expires_at.timestamp() > 0
    return Unlent(
        provider=account.provider,
        id=account.id,
        name=account.name,
        kind=account.kind,
        state=account.state,
        why=account.why or (f"the same account as {account.same_as}" if account.same_as else ""),
        place=account.place,
        in_vault=account.source in ("file", "link") and stored is not None,
        tier=stored.tier if stored is not None else None,
        expires_at=stored.expires_at if stored is not None and known_expiry else None,
    )


async def used_today(asked: Asked) -> Today | None:
    """Everyone's usage since 00:00 UTC; ``None`` while the store does not answer."""
    response = await asked.request.call("GET", "/admin/usage?by=day")
    if response.status != 200:
        return None
    rows = _json(response)["usage"]
    requests, cost, priced = (sum(row[name] for row in rows) for name in ("requests", "cost", "priced"))
    return Today(requests=requests, cost=cost, unpriced=max(0, requests - priced))


# --- Changing ----------------------------------------------------------------------------


async def clear(asked: Asked, provider: str, credential: str) -> Outcome:
    body = {"provider": provider, **({"credential": credential} if credential else {})}
    response = await asked.request.call("POST", "/admin/cooldowns/clear", body)
    answer = _json(response)
    if response.status != 200:
        return Outcome(good=False, words=_message(answer))
    cleared = max((process["cleared"] for process in answer["processes"]), default=0)
    words = (
        "There was no cooldown." if not cleared else f"{cleared} cooldown{'s were' if cleared > 1 else ' was'} cleared."
    )
    return Outcome(good=True, words=f"{provider}: {words}")


async def disable(asked: Asked, provider: str, credential: str, disabled: bool) -> Outcome:
    def work() -> Outcome:
        accounts = opened(asked)
        changed, words = set_disabled(accounts, accounts.in_vault(provider, credential), disabled)
        return Outcome(good=True, words=words, changed=changed)

    return await _done(asked, work)


async def test(asked: Asked, provider: str, credential: str) -> Outcome:
    def work() -> Outcome:
        accounts = opened(asked)
        chosen = accounts.matching(provider, credential)
        [(good, words)] = _run(try_all(accounts, accounts.provider(provider), chosen[:1]))
        said = "the provider accepts it" if good else "it does not work"
        words = f"{provider} {chosen[0].name}: {said}{': ' if words else ''}{words}"
        return Outcome(good=good, words=words, changed=chosen[0].kind != "api_key")

    outcome = await _done(asked, work)
    stands = standing_of(await asked.request.statuses(), provider, credential) if outcome.good else None
    return replace(outcome, more=(*outcome.more, *_reservations(stands)))


def _reservations(standing: Standing | None) -> Iterator[str]:
    """Why an account that its provider accepts is not used all the same."""
    if standing is None or standing.tone == "good":
        return
    until = f" until {clock(standing.until, datetime.now(UTC))}" if standing.until is not None else ""
    without = f" (not for {', '.join(standing.without)})" if standing.without else ""
    yield f"The test asks no model, so it says nothing about quotas: the account is {standing.words}{without}{until}."


async def renew_now(asked: Asked, provider: str, credential: str) -> Outcome:
    def work() -> Outcome:
        accounts = opened(asked)
        account = accounts.matching(provider, credential)[0]
        good, words = _run(renew(accounts, accounts.provider(provider), account))
        return Outcome(good=good, words=f"{provider} {account.name}: {words}", changed=True)

    return await _done(asked, work)


async def add_keys(asked: Asked, provider: str, text: str, name: str | None) -> Outcome:
    def work() -> Outcome:
        accounts, said = opened(asked), list[str]()
        chosen = accounts.taking_keys(provider)
        new = store_keys(accounts, chosen, keys_in(text), name=name, say=said.append)
        first = "One key was added." if new == 1 else f"{new} keys were added." if new else "No key was added."
        return Outcome(good=bool(new), words=first, more=tuple(said), changed=bool(new))

    return await _done(asked, work)


async def reloaded(asked: Asked) -> str:
    """Have all processes read the accounts again; returns what to say about it, or nothing if it worked."""
    response = await asked.request.call("POST", "/admin/reload")
    if response.status == 200:
        return ""
    return f"It is saved, but the running proxy did not apply it: {_message(_json(response))}"


async def _done(asked: Asked, work: Callable[[], Outcome]) -> Outcome:
    try:
        outcome = await asyncio.to_thread(work)
    except click.ClickException as error:
        return Outcome(good=False, words=error.message)
    except (SetupError, SettingsError, ProxyError, VaultProblem) as error:
        return Outcome(good=False, words=str(error))
    except TimeoutError:
        return Outcome(good=False, words=f"the provider did not answer within {_ASK_S:.0f} seconds")
    except OSError as error:
        return Outcome(good=False, words=file_words(error))
    if not outcome.changed:
        return outcome
    problem = await reloaded(asked)
    return Outcome(
        good=outcome.good and not problem, words=outcome.words, more=(*outcome.more, *filter(None, [problem]))
    )


def file_words(error: OSError) -> str:
    return f"{error.filename or 'A file'}: {error.strerror or error}"


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """In this thread, with an event loop of its own: a provider's library may block it."""

    async def limited() -> Any:
        async with asyncio.timeout(_ASK_S):
            return await work

    return asyncio.run(limited())


def _json(response: CallResponse) -> Any:
    assert isinstance(response.body, bytes)  # an operation's answer is no stream
    return json.decode(response.body)


def _message(answer: Any) -> str:
    try:
        return str(answer["error"]["message"])
    except (LookupError, TypeError):
        return "the proxy refused it without a reason"
