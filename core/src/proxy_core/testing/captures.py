"""A request with the responses of its upstreams, captured while a proxy serves, and redacted."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace
from starlette.types import Receive, Scope
from starlette.types import Send as ToClient

from proxy_core import sse
from proxy_core.errors import SettingsError
from proxy_core.interfaces import ByteStream, Credential, ProviderResponse, Send, TransportFailed
from proxy_core.messages import UpstreamRequest
from proxy_core.network.errors import TransportError
from proxy_core.network.upload import Progress
from proxy_core.network.upstream import Upstream, UpstreamResponse
from proxy_core.plugins.registry import Catalog
from proxy_core.records.log import REQUEST_ID
from proxy_core.runtime.active import Active
from proxy_core.runtime.catalog import load_catalog
from proxy_core.runtime.compose import Network, build
from proxy_core.runtime.process import Process
from proxy_core.server.serve import check_server, listen, serve_app, stop_on_signals, url_of
from proxy_core.settings.loading import LoadedSettings

#: Of the client's headers these may matter to a dialect; none is a key.
_KEPT_HEADERS = frozenset(
    {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta"}
)
#: Settings that decide what becomes of a request, besides the providers'.
_KEPT_TABLES = ("models", "plugins", "sanitizers", "routing")
#: The proxy itself takes these away, or they describe the transport.
_TRANSPORT_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding", "date", "set-cookie"})


class Message(Struct, kw_only=True):
    """A request as it was received or sent. ``body`` is JSON, or a text."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any


class Exchange(Struct, kw_only=True):
    """One request to an upstream, and what came back: a response in pieces, or a transport fault, or both.

    ``kind`` and ``details`` are those of the login that was used: a provider may put a detail into its requests.
    """

    provider: str
    sent: Message
    kind: str = "api_key"
    details: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    fault: str = ""


class Capture(Struct, kw_only=True):
    """One request of a client from beginning to end. ``settings`` are tables without secrets."""

    id: str
    request: Message
    exchanges: list[Exchange]
    status: int
    content_type: str
    #: JSON, the list of a stream's events, or a text.
    body: Any
    settings: dict[str, Any] = field(default_factory=dict)


def read_capture(file: Path) -> Capture:
    """Raises ``SettingsError`` if it is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Capture)
    except msgspec.DecodeError as error:
        raise SettingsError([f"{file} is no capture: {error}"]) from error


def written(capture: Capture) -> bytes:
    return msgspec.json.format(msgspec.json.encode(capture), indent=1) + b"\n"


# --- Capturing ---------------------------------------------------------------------------


async def serve_capturing(
    active: Active, taken: Exchanges, keep: Callable[[Capture], None], ready: Callable[[str], None]
) -> None:
    """Serve until the process is asked to stop; ``keep`` gets every request of a client, redacted.

    ``ready`` is called with the URL.
    """
    server = active.current.loaded.settings.server
    http_server = check_server(server, active.current.catalog.http_servers)
    app = _Capturing(active, taken, keep)
    sock = listen(server)
    stop_on_signals(active.stop, active.interrupt)
    ready(url_of(sock, server))
    await serve_app(
        app,
        http_server,
        server,
        sock,
        active.stop,
        retire=active.retire,
        interrupt=active.interrupt,
    )


class Exchanges:
    """What was exchanged with upstreams, by the id of the request."""

    def __init__(self) -> None:
        self._by_request: dict[str, list[Exchange]] = {}

    def over(self, network: Upstream) -> Upstream:
        """``network``, noted."""
        return _Noted(network, self)

    def of_catalog(self, catalog: Catalog) -> Catalog:
        """``catalog``; what providers send over sockets of their own is noted, too."""
        providers = {
            name: replace(provider, send=_noted_send(name, provider.send, self)) if provider.send else provider
            for name, provider in catalog.providers.items()
        }
        return replace(catalog, providers=providers)

    def add(self, exchange: Exchange) -> None:
        self._by_request.setdefault(REQUEST_ID.get(), []).append(exchange)

    def of(self, request: str) -> list[Exchange]:
        """Those of a request that has ended."""
        return self._by_request.pop(request, [])


def start_capturing(loaded: LoadedSettings) -> tuple[Active, Exchanges]:
    """A proxy whose exchanges are noted. Raises ``SetupError``, also where nothing redacts what would be kept."""
    taken = Exchanges()
    active = start_with(loaded, taken.over, taken.of_catalog)
    if not active.current.redaction.installed:
        raise SettingsError(["a capture is redacted, and no plugin does that: pip install proxy-plugin-redaction"])
    return active, taken


def start_with(loaded: LoadedSettings, network: Network, changed: Callable[[Catalog], Catalog]) -> Active:
    """A proxy over ``network``, with what plugins provide ``changed``. Raises ``SetupError``."""
    catalog = changed(load_catalog(loaded))
    process = Process(loaded, catalog)
    first = build(loaded, catalog, process, network=network)
    process.configure(first)
    return Active(process, first)


class _Noted(Upstream):
    def __init__(self, network: Upstream, taken: Exchanges) -> None:
        self._network, self._taken = network, taken

    async def __aenter__(self) -> Self:
        await self._network.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._network.__aexit__(*exc)

    async def send(
        self, request: UpstreamRequest, progress: Progress | None = None, *, provider: str = "", resend: bool = True
    ) -> UpstreamResponse:
        exchange = Exchange(provider=provider, sent=message_of(request))
        self._taken.add(exchange)
        try:
            response = await self._network.send(request, progress, provider=provider, resend=resend)
        except TransportError as error:
            exchange.fault = error.fault
            raise
        _note_head(exchange, response.status, response.headers)
        headers = {n: v for n, v in response.headers.items() if n != "content-encoding"}
        return UpstreamResponse(response.status, headers, _noted(response.pieces(), exchange), response.aclose)


def _note_head(exchange: Exchange, status: int, headers: Mapping[str, str]) -> None:
    exchange.status = status
    exchange.headers = {n: v for n, v in headers.items() if n not in _TRANSPORT_HEADERS}


async def _noted(pieces: AsyncGenerator[bytes, None], exchange: Exchange) -> AsyncGenerator[bytes, None]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        async for piece in pieces:
            exchange.pieces.append(decoder.decode(piece))
            yield piece
    except TransportError as error:
        exchange.fault = error.fault
        raise


def _noted_send(provider: str, send: Send, taken: Exchanges) -> Send:
    """``send`` of a provider that has its own sockets, noted."""

    async def noted(request: UpstreamRequest, credential: Credential) -> ProviderResponse:
        exchange = Exchange(provider=provider, sent=message_of(request))
        taken.add(exchange)
        try:
            response = await send(request, credential)
        except TransportFailed as error:
            exchange.fault = "disconnect" if error.sent else "connect"
            raise
        _note_head(exchange, response.status, response.headers)
        if isinstance(response.body, bytes):
            exchange.pieces.append(response.body.decode("utf-8", "replace"))
            return response
        return replace(response, body=_NotedBody(response.body, exchange))

    return noted


class _NotedBody:
    def __init__(self, body: ByteStream, exchange: Exchange) -> None:
        self._body, self._exchange = body, exchange

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            async for piece in self._body:
                self._exchange.pieces.append(decoder.decode(piece))
                yield piece
        except OSError:
            self._exchange.fault = "cut"
            raise

    async def aclose(self) -> None:
        await self._body.aclose()


def message_of(request: UpstreamRequest) -> Message:
    headers = {name.lower(): value for name, value in request.headers}
    return Message(method=request.method, url=request.url, headers=headers, body=_body(bytes(request.content or b"")))


class _Capturing:
    """The application, with every POST of a client noted."""

    def __init__(self, active: Active, taken: Exchanges, keep: Callable[[Capture], None]) -> None:
        self._active, self._taken, self._keep = active, taken, keep

    async def __call__(self, scope: Scope, receive: Receive, send: ToClient) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].startswith("/admin"):
            await self._active(scope, receive, send)
            return
        seen = _Seen()
        try:
            await self._active(scope, seen.receiving(receive), seen.sending(send))
        finally:
            if seen.status:
                self._note(scope, seen)

    def _note(self, scope: Scope, seen: _Seen) -> None:
        request_id = seen.headers.get("x-request-id", "")
        headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in scope["headers"]}
        capture = Capture(
            id=request_id,
            request=Message(
                method="POST",
                url=scope["path"],
                headers={n: v for n, v in headers.items() if n in _KEPT_HEADERS},
                body=_body(b"".join(seen.received)),
            ),
            exchanges=[self._with_login(exchange) for exchange in self._taken.of(request_id)],
            status=seen.status,
            content_type=seen.headers.get("content-type", ""),
            body=answer_of(b"".join(seen.answered), seen.headers.get("content-type", "")),
            settings=_settings(self._active.current.loaded),
        )
        cleaned = redacted(capture, self._active)
        if cleaned is not None:
            self._keep(cleaned)

    def _with_login(self, exchange: Exchange) -> Exchange:
        """The login whose token was sent; nothing secret of it is kept."""
        plan = self._active.current.plans.get(exchange.provider)
        headers = exchange.sent.headers.values()
        for credential in plan.credentials if plan is not None else ():
            token = credential.secret.get_secret_value()
            if token and any(token in value for value in headers):
                details = {name: value for name, value in credential.details.items() if isinstance(value, str)}
                return replace(exchange, kind=credential.kind, details=details)
        return exchange


class _Seen:
    """The bytes of one request and its response."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answered: list[bytes] = []
        self.status = 0
        self.headers: dict[str, str] = {}

    def receiving(self, receive: Receive) -> Receive:
        async def received() -> MutableMapping[str, Any]:
            message = await receive()
            self.received.append(message.get("body", b""))
            return message

        return received

    def sending(self, send: ToClient) -> ToClient:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in message["headers"]}
            self.answered.append(message.get("body", b""))
            await send(message)

        return sending


def _body(content: bytes) -> Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def answer_of(content: bytes, content_type: str) -> Any:
    if not content_type.startswith("text/event-stream"):
        return _body(content)
    return [{"event": event.name or "", "data": _body(event.data)} for event in sse.events(content)]


def _settings(loaded: LoadedSettings) -> dict[str, Any]:
    tables = {name: loaded.sources.table[name] for name in _KEPT_TABLES if name in loaded.sources.table}
    urls = {name: loaded.provider(name).base_url for name in loaded.provider_names}
    return {**tables, "providers": {name: {"base_url": str(url)} for name, url in urls.items() if url is not None}}


def redacted(capture: Capture, active: Active) -> Capture | None:
    """Without any secret of the proxy, and as the redactors leave it; ``None`` if one of them failed."""
    scrub = active.process.scrub
    record = active.current.redaction.apply(scrub.value(msgspec.to_builtins(capture)))
    return msgspec.convert(scrub.value(record), Capture) if record is not None else None
