"""Checks whether upstreams answer and whether their clocks agree with ours. No credential is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from proxy_core import HttpResponse, Provider, SettingsError, TransportFailed, UpstreamRequest
from proxy_core.cli.api import address, open_http
from proxy_plugin_accounts import Accounts
from proxy_plugin_doctor.findings import Finding

_ANSWER_S = 10.0
#: Tokens are refreshed minutes before they expire, so a smaller skew does no harm.
_SKEW_S = 30.0


def of_upstreams(accounts: Accounts) -> list[Finding]:
    """Findings about each provider that has a credential or needs none."""
    chosen = [p for p in accounts.catalog.providers.values() if p.credential_optional or accounts.of(p.name)]
    return asyncio.run(_ask_all(accounts, chosen))


async def _ask_all(accounts: Accounts, providers: Sequence[Provider]) -> list[Finding]:
    found = await asyncio.gather(*(_ask(accounts, provider) for provider in providers))
    return [finding for findings in found for finding in findings]


async def _ask(accounts: Accounts, provider: Provider) -> list[Finding]:
    url = address(provider)
    if url is None:
        return [
            Finding(
                area="upstreams", what=f"{provider.name}: not checked, its address depends on the request", note=True
            )
        ]
    try:
        async with open_http(accounts.loaded, accounts.catalog, provider.name) as exchange:
            answer = await exchange(UpstreamRequest(url=url, headers=[], method="GET"), timeout_s=_ANSWER_S)
    except SettingsError:
        return []  # reported with the settings
    except TransportFailed as error:
        do = "check the address, the network and the provider's status page"
        return [Finding(area="upstreams", what=f"{provider.name}: {_place(url)} does not answer: {error}", do=do)]
    there = Finding(area="upstreams", what=f"{provider.name}: {_place(url)} answers ({answer.status})", note=True)
    return [there, *_skew(provider, answer)]


def _skew(provider: Provider, answer: HttpResponse) -> list[Finding]:
    with suppress(ValueError, TypeError):
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        if theirs.tzinfo is None:
            theirs = theirs.replace(tzinfo=UTC)
        ahead_s = (datetime.now(UTC) - theirs).total_seconds()
        if abs(ahead_s) > _SKEW_S:
            way = "ahead of" if ahead_s > 0 else "behind"
            words = f"this machine's clock is {abs(ahead_s):.0f} s {way} that of {provider.name}"
            return [Finding(area="clock", what=words, do="synchronize it (NTP), or token expiry times are wrong")]
    return []


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
