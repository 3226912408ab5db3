"""Plays a fault to a provider: the whole proxy with it, in memory, on a virtual clock."""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    Dialect,
    HttpClient,
    Observer,
    Provider,
    ProviderCall,
    ProviderResponse,
    RequestRecord,
    Tokens,
    TransportFailed,
)
from proxy_core.messages import ChatRequest, Message, Text, UpstreamRequest
from proxy_core.plugins.plugin import Module
from proxy_core.testing.conformance.case import NotApplicable, expect
from proxy_core.testing.faults import OPENAI, Fault, Scene, Seen, Stage, Wire, seen
from proxy_core.testing.memory import MemoryUpstream, ScriptedBody, run_in_memory
from proxy_core.testing.plugin import plugin_with
from proxy_core.testing.proxy import RunningProxy
from proxy_core.testing.steps import pause
from proxy_core.testing.upstream import Script, SeenRequest
from proxy_core.testing.virtual_clock import VirtualClock

SECRETS = ("contract-secret-0123456789", "contract-secret-9876543210")
_REFRESHED = "contract-refreshed-"
_LIMITS = {"first_event_s": 60, "idle_s": 60}


class ProviderSubject(Struct, frozen=True, kw_only=True):
    """A provider, and what is known about its format.

    ``wire`` has recorded responses; ``None`` is right for a provider that speaks OpenAI's format. ``dialects`` are
    those that it speaks and that the core does not have. ``kind`` is that of the credentials, if the provider accepts
    others than its own; ``details`` are a login's, without which it cannot encode.
    """

    provider: Provider
    wire: Wire | None = None
    dialects: Sequence[Dialect] = ()
    kind: str = ""
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)

    @property
    def samples(self) -> Wire:
        if self.wire is not None:
            return self.wire
        if "openai_chat" not in self.provider.dialects:
            raise NotApplicable("give a recorded response: stream_sample")
        return OPENAI

    @property
    def model(self) -> str:
        models = self.provider.models
        return models[0].id if self.provider.models_complete and models else "m"

    @property
    def has_logins(self) -> bool:
        return self.credential_kind != "api_key"

    @property
    def credential_kind(self) -> str:
        return self.kind or self.provider.credential_kind

    def credential(self, number: int = 0) -> Credential:
        return Credential(
            id=f"c0ffee0{number}",
            provider=self.provider.name,
            kind=self.credential_kind,
            secret=SecretStr(SECRETS[number]),
            label="test",
            details=self.details,
        )

    def call(self, *, stream: bool = True, **fields: Any) -> ProviderCall:
        dialect = self.provider.dialects[0] if self.provider.dialects else None
        message = {"role": "user", "content": "hi"}
        body = {"model": self.model, "messages": [message], "stream": stream, **fields} if dialect else {}
        messages = [Message(role="user", parts=[Text(text="hi")])]
        chat = ChatRequest(model=self.model, messages=messages, dialect="openai_chat", stream=stream)
        return ProviderCall(dialect=dialect, body=body, chat=chat, stream=stream)


class Play(Struct, kw_only=True):
    """A proxy with the provider, whose upstream plays a fault. ``sent`` is what the provider encoded."""

    subject: ProviderSubject
    proxy: RunningProxy
    clock: VirtualClock
    stage: Stage
    log: io.StringIO
    sent: list[UpstreamRequest] = field(default_factory=list)
    requests: list[SeenRequest] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    records: list[RequestRecord] = field(default_factory=list)

    async def ask(self, stream: bool, **fields: Any) -> Seen:
        """A client's request, and what came back."""
        self.stage.scene = replace(self.stage.scene, stream=stream)
        before, began = len(self.stage.keys), self.clock.time
        answer = await self.clock.run(self._chat(stream, fields))
        keys = self.stage.keys[before:]
        return seen(answer.status_code, answer.headers, answer.content, keys=keys, took_s=self.clock.time - began)

    async def leave(self, stream: bool) -> Seen:
        """A client that leaves as soon as there is nothing more to come."""
        self.stage.scene = replace(self.stage.scene, stream=stream)
        asking = asyncio.ensure_future(self._chat(stream, {}))
        await self.clock.settle()
        asking.cancel()
        await asyncio.wait([asking])
        await self.clock.settle()
        left = self.requests and all(request.left.is_set() for request in self.requests)
        return Seen(status=None, keys=tuple(self.stage.keys), left_alone_s=0.0 if left else None)

    async def good(self) -> tuple[str, int]:
        """The text of a good response, and how many pieces of it bring the first content."""
        wire, fault = self.stage.scene.wire, self.stage.fault
        steps = [step for piece in wire.pieces for step in (pause(1), piece)]
        self.stage.fault = plays(Script(200, wire.headers(True), steps))
        whole = await self.ask(True)
        await self.clock.settle()
        expect(whole.text and not whole.failed, f"a good response has no text for the client: {whole}")
        first_event_s = self.records[-1].first_event_s
        expect(first_event_s is not None, "a good response has no content for the client")
        self.stage.fault = fault
        self.stage.keys.clear()
        self.requests.clear()
        self.sent.clear()
        return whole.text, round(first_event_s or 0)

    @property
    def refreshing(self) -> bool:
        return any(login.refreshing for login in self.proxy.process.refresher._logins.values())

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that happens in threads, for ten seconds at most; meanwhile time passes as usual."""
        for _ in range(1000):
            await self.clock.settle()
            if condition():
                return
            await asyncio.sleep(0.01)
            self.clock.passes(0.01)

    async def _chat(self, stream: bool, fields: Mapping[str, Any]) -> httpx.Response:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        provider = self.subject.provider
        body = {
            "model": f"{provider.prefix or provider.name}/{self.subject.model}",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": stream,
            **options,
            **fields,
        }
        headers = {"authorization": f"Bearer {self.proxy.key}"}
        return await self.proxy.client.post(self.proxy.url + "/chat/completions", json=body, headers=headers)

    @property
    def rests_s(self) -> float:
        """The longest cooldown of a credential."""
        pools = self.proxy.proxy.pools.values()
        return max((left for pool in pools for left in pool.cooling_down().values()), default=0.0)


@asynccontextmanager
async def playing(subject: ProviderSubject, fault: Fault | None = None, **tables: Any) -> AsyncIterator[Play]:
    """A proxy in which the provider has two credentials; ``tables`` are further settings."""
    if subject.provider.send is not None:
        raise NotApplicable("the provider has sockets of its own")
    clock = VirtualClock(time.time())  # dates in headers are compared with the machine's clock
    stage = Stage(scene=Scene(wire=subject.samples, stream=True, now=clock.now()), fault=fault)
    refreshed: list[str] = []
    refreshers = [_refresher(subject, refreshed)] if subject.has_logins else []
    records: list[RequestRecord] = []
    upstream = _Upstream(clock, stage, subject, refreshers, _observer(records))
    with tempfile.TemporaryDirectory() as name, _captured() as log:
        folder = Path(name)
        settings = {**_settings(subject, folder), **tables}
        async with run_in_memory(settings, upstream, folder=folder, clock=clock) as proxy:
            play = Play(
                subject=subject,
                proxy=proxy,
                clock=clock,
                stage=stage,
                log=log,
                refreshed=refreshed,
                records=records,
            )
            upstream.play = play
            yield play


def _settings(subject: ProviderSubject, folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "plugins": {"allowed": []},
        "timeouts": _LIMITS,
        "routing": {"selector": "sequential", "max_wait_s": 1},
    }
    if not subject.has_logins:
        return {**settings, "providers": {subject.provider.name: {"api_keys": list(SECRETS)}}}
    vault = Vault(folder / "data" / "credentials")
    for number, secret in enumerate(SECRETS):
        stored = StoredCredential(
            provider=subject.provider.name,
            name=f"login-{number}",
            kind=subject.credential_kind,
            access_token=SecretStr(secret),
            refresh_token=SecretStr(f"{secret}-refresh"),
            identity=f"user{number}@example.com",
            details=dict(subject.details),
        )
        vault.add(stored)
    return settings


def _refresher(subject: ProviderSubject, refreshed: list[str]) -> CredentialRefresher:
    """Gives a new access token and a new refresh token each time; ``refreshed`` are the refresh tokens that came."""

    async def refresh(credential: Credential, http: HttpClient) -> Tokens:
        old = credential.refresh_token
        refreshed.append(old.get_secret_value() if old else "")
        number = len(refreshed)
        return Tokens(
            access_token=SecretStr(f"{_REFRESHED}{number:08}"), refresh_token=SecretStr(f"{_REFRESHED}rt-{number}")
        )

    return CredentialRefresher(kind=subject.credential_kind, refresh=refresh)


def plays(script: Script, hits: Literal["first", "every"] = "every") -> Fault:
    """A response that is no fault of the catalogue."""
    return Fault(
        name="", group="", why="", must="", script=lambda scene: script, problem=lambda seen, text: None, hits=hits
    )


class _Upstream(MemoryUpstream):
    """Plays the stage's fault to the one provider."""

    play: Play | None = None

    def __init__(
        self,
        clock: VirtualClock,
        stage: Stage,
        subject: ProviderSubject,
        refreshers: Sequence[CredentialRefresher],
        observer: Observer,
    ) -> None:
        super().__init__(clock)
        self._stage = stage
        self._subject = subject
        self._brought = {"proxy_credential_refreshers": refreshers, "proxy_observers": [observer]}

    def plugin(self) -> Module:
        """The provider, with this upstream instead of a socket."""
        provider = replace(self._subject.provider, send=self.send, list_models=None, quota=None)
        return plugin_with(proxy_providers=[provider], proxy_dialects=self._subject.dialects, **self._brought)

    async def send(self, request: UpstreamRequest, credential: Credential) -> ProviderResponse:
        script = self._stage.script(credential.secret.get_secret_value())
        seen = SeenRequest(request.method, request.url, dict(request.headers), request.content)
        if self.play is not None:
            self.play.sent.append(request)
            self.play.requests.append(seen)
        if script.reset:
            raise TransportFailed("reset", sent=True)
        body = ScriptedBody(script, seen, self._clock)
        return ProviderResponse(status=script.status, headers=script.headers, body=body)


def _observer(records: list[RequestRecord]) -> Observer:
    async def observe(record: RequestRecord) -> None:
        records.append(record)

    return Observer(name="conformance", observe=observe)


@contextmanager
def _captured() -> Iterator[io.StringIO]:
    """Everything that is logged, at any level, with tracebacks."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
