"""Captured requests, replayed offline through the plugins that are installed.

A test replays a file that ``proxy-core capture`` wrote::

    async def test_it_is_answered_as_before(tmp_path):
        lines = await replay_differences(Path("tests/capture.json"), folder=tmp_path)
        assert not lines, "\\n".join(lines)
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.messages import UpstreamRequest
from proxy_core.network.errors import TransportError
from proxy_core.network.upload import Progress
from proxy_core.network.upstream import Upstream, UpstreamResponse
from proxy_core.plugins.registry import Catalog
from proxy_core.records.log import REQUEST_ID
from proxy_core.settings.loading import LoadedSettings, load
from proxy_core.testing.captures import (
    Capture,
    Exchange,
    Message,
    answer_of,
    message_of,
    read_capture,
    redacted,
    start_with,
)

_KEY = "the-key-of-a-replay"
_TIMES = frozenset({"created", "created_at", "completed_at"})


async def replay_differences(file: Path, *, folder: Path) -> list[str]:
    """Replay a capture with the plugins that are installed and the settings that it was captured with.

    Returns the lines that differ: ``-`` as captured, ``+`` as replayed. ``folder`` is the data folder.
    """
    capture = read_capture(file)
    overrides = _merged(capture.settings, replay_tables(capture))
    write_logins(capture, folder)
    loaded = load(overrides=overrides, environ={"PROXY_DATA_DIR": str(folder)}, cwd=folder)
    return differences(capture, await replayed(capture, loaded))


def replay_tables(capture: Capture) -> dict[str, Any]:
    """Settings that a replay needs above those of a proxy: keys that no upstream sees, and no state on disk."""
    providers = [exchange.provider for exchange in capture.exchanges if exchange.kind == "api_key"]
    keys = {name: [f"replay-key-{name}-{n}" for n in range(providers.count(name))] for name in providers}
    return {
        "clients": {"replay": {"key": _KEY}},
        "state": {"url": "memory:", "secret": "of-a-replay"},
        "admin": {"key": "the-admin-key-of-a-replay"},
        "records": {"enabled": False},
        "routing": {"retry_delay_s": 0.01, "retry_jitter_s": 0},
        "providers": {name: {"api_keys": given} for name, given in keys.items()},
    }


def write_logins(capture: Capture, folder: Path) -> None:
    """A login in the data folder for each exchange with one; its token is none, and never due for a refresh."""
    vault = Vault(folder / "credentials")
    for number, exchange in enumerate(capture.exchanges):
        if exchange.kind not in ("api_key", "none"):
            login = StoredCredential(
                provider=exchange.provider,
                name=f"replay-{number}",
                kind=exchange.kind,
                access_token=SecretStr(f"replay-token-{exchange.provider}-{number}"),
                refresh_token=SecretStr(f"replay-refresh-{exchange.provider}-{number}"),
                expires_at=datetime.now(UTC) + timedelta(days=30),
                identity=f"replay-{number}@example.com",
                details=exchange.details,
            )
            vault.add(login)


async def replayed(capture: Capture, loaded: LoadedSettings) -> Capture:
    """The same request through a proxy that has no network: its upstreams answer as they did. Raises ``SetupError``."""
    played = _Played(capture.id, capture.exchanges)
    active = start_with(loaded, lambda _: played, _offline)
    headers = {**capture.request.headers, "authorization": f"Bearer {_KEY}", "x-request-id": capture.id}
    given = capture.request.body
    content = given.encode() if isinstance(given, str) else json.dumps(given).encode()
    transport = httpx.ASGITransport(app=active.current.app)
    client = httpx.AsyncClient(transport=transport, base_url="http://replay", timeout=None)
    async with active.current.open(), active.process.open(), client:
        response = await client.post(capture.request.url, content=content, headers=headers)
    content_type = response.headers.get("content-type", "")
    new = Capture(
        id=capture.id,
        request=capture.request,
        exchanges=played.exchanges,
        status=response.status_code,
        content_type=content_type,
        body=answer_of(response.content, content_type),
    )
    return redacted(new, active) or new


def _offline(catalog: Catalog) -> Catalog:
    """Nothing of it reaches for a network: neither providers with sockets of their own, nor observers that report."""
    providers = {name: replace(one, send=None, fetch_links=None) for name, one in catalog.providers.items()}
    return replace(catalog, providers=providers, observers=())


class _Played(Upstream):
    """Gives each request the next response that its provider gave to one like it."""

    def __init__(self, request: str, recorded: Sequence[Exchange]) -> None:
        self._request = request
        self._left = list(recorded)
        self.exchanges: list[Exchange] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def send(
        self, request: UpstreamRequest, progress: Progress | None = None, *, provider: str = "", resend: bool = True
    ) -> UpstreamResponse:
        if REQUEST_ID.get() != self._request:
            raise TransportError("connect", "a replay asks upstreams only what its request needs")
        sent = message_of(request)
        recorded = self._next(provider, sent)
        exchange = Exchange(provider=provider, sent=sent)
        self.exchanges.append(exchange)
        if recorded is None or recorded.status is None:
            raise TransportError("connect", "the capture has no further response of this upstream")
        return UpstreamResponse(recorded.status, recorded.headers, _pieces(recorded), _nothing)

    def _next(self, provider: str, sent: Message) -> Exchange | None:
        of_provider = [exchange for exchange in self._left if exchange.provider == provider]
        alike = [one for one in of_provider if (one.sent.method, one.sent.url) == (sent.method, sent.url)]
        found = next(iter([*alike, *of_provider]), None)
        if found is not None:
            self._left.remove(found)
        return found


async def _pieces(recorded: Exchange) -> AsyncGenerator[bytes, None]:
    for piece in recorded.pieces:
        yield piece.encode()
        await asyncio.sleep(0)
    if recorded.fault:
        raise TransportError("cut")


async def _nothing() -> None:
    pass


def differences(old: Capture, new: Capture) -> list[str]:
    """The lines in which the sent requests and the client's response differ; none if they are the same."""
    lines = difflib.unified_diff(_compared(old), _compared(new), "captured", "replayed", n=2, lineterm="")
    return list(lines)


def _compared(capture: Capture) -> list[str]:
    sent = [msgspec.to_builtins(exchange.sent) for exchange in capture.exchanges]
    for message in sent:
        message["headers"] = {n: v for n, v in message["headers"].items() if n not in _SECRET_HEADERS}
    shown = {"sent": sent, "status": capture.status, "content_type": capture.content_type, "body": capture.body}
    return json.dumps(_timeless(shown), indent=1, sort_keys=True, ensure_ascii=False).splitlines()


#: A replay's keys are others.
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {n: 0 if n in _TIMES and isinstance(v, int | float) else _timeless(v) for n, v in value.items()}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _merged(tables: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tables)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
