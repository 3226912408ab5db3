"""Requests that are answered without a provider: lists of models, token counts, statistics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Protocol

from msgspec import Struct, field

from proxy_core.interfaces.models import ModelInfo
from proxy_core.interfaces.state import UsageRow
from proxy_core.interfaces.status import ProcessStatus
from proxy_core.messages import ChatRequest, Extra, JsonObject, Usage, repr_without

__all__ = [
    "CountedTokens",
    "EstimatedCost",
    "ListedModel",
    "Operation",
    "OperationRequest",
    "OperationResponse",
    "OperationServices",
    "RequestHead",
]


class RequestHead(Struct, frozen=True, kw_only=True):
    """A request without its body.

    Names of headers are lower case. A header or query parameter that contains a key has an empty value: a
    dialect can see that it was sent, but not the key. ``parameters`` are those of the path;
    ``client`` is the name of the client, empty until its key has been checked.
    """

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    client: str = ""


class ListedModel(Struct, frozen=True, kw_only=True):
    """A model that the client may use, by its public id.

    ``created`` is in epoch seconds; ``extra`` contains the members of its entry in the provider's own list.
    ``info`` is its metadata, and ``sources`` names the source of each field (``prices`` for all prices):
    ``settings``, ``provider`` or the name of a catalog. Both are empty unless ``described``.
    """

    id: str
    created: int
    owned_by: str
    extra: Extra = field(default_factory=dict)
    info: ModelInfo = field(default_factory=ModelInfo)
    sources: Mapping[str, str] = field(default_factory=dict)


class CountedTokens(Struct, frozen=True, kw_only=True):
    """The tokens of a request. ``source`` names the counter and tokenizer, ``note`` says why it is not ``exact``."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """For a response that has no fields for the source and the note."""
        note = "".join(filter(str.isprintable, self.note)).encode("ascii", "ignore").decode()
        source = [("x-proxy-token-counter", self.source)]
        return [*source, ("x-proxy-token-counter-note", note)] if note and not self.exact else source

    tokens: int
    exact: bool
    source: str
    note: str = ""


class EstimatedCost(Struct, frozen=True, kw_only=True):
    """US dollars, with the ``prices`` and their ``source``; all empty if no source has a price for ``deployment``."""

    deployment: str
    cost: float | None = None
    prices: ModelInfo = field(default_factory=ModelInfo)
    source: str | None = None


class OperationServices(Protocol):
    """Read-only access to the proxy's information, on behalf of one client."""

    async def models(self, *, described: bool = False) -> Sequence[ListedModel]:
        """The models that the client may use. Without ``described``, ``info`` stays empty, which is faster."""
        ...

    async def model(self, model: str, *, described: bool = False) -> ListedModel:
        """Raises ``ModelNotFound``, also for a model that the client may not use."""
        ...

    async def count_tokens(self, chat: ChatRequest, body: JsonObject) -> CountedTokens:
        """Count as the first deployment of the model would: its provider counts, if it can, or else a counter does.

        ``body`` is the request in the dialect of ``chat``. Raises ``ModelNotFound``, ``Forbidden``.
        """
        ...

    async def count(
        self,
        model: str,
        *,
        text: str | None = None,
        messages: Sequence[JsonObject] = (),
        tools: Sequence[JsonObject] = (),
    ) -> CountedTokens:
        """The same for a text, or for messages and tools in the shape of OpenAI's chat format."""
        ...

    async def cost(self, model: str, usage: Usage) -> EstimatedCost:
        """What the first deployment of the model would cost. Raises ``ModelNotFound``, ``Forbidden``."""
        ...

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """Everyone's usage of these days, by all processes. Raises ``Unavailable`` if the store does not answer."""
        ...

    async def kept(self, name: str) -> bytes | None:
        """What the client's dialect kept for it (``Dialect.keeping``). Raises ``Unavailable``."""
        ...

    async def forget(self, name: str) -> bool:
        """Delete it; returns whether there was anything. Raises ``Unavailable``."""
        ...

    async def refresh_quotas(self, provider: str | None = None, credential: str | None = None) -> int:
        """Ask providers for the quotas of all credentials, or these; returns for how many they were asked.

        Those asked for in the last half minute, and those of providers that cannot be asked, are left out. Waits for
        the answers, but no longer than 15 seconds.
        """
        ...

    def status(self, *, credentials: bool = True) -> ProcessStatus:
        """The status of this process; without ``credentials``, providers have only their counts, which is cheaper."""
        ...


class OperationRequest(Struct, frozen=True, kw_only=True):
    """``body`` is the client's JSON object; empty if the method has no body or nothing was sent."""

    __repr__ = repr_without("body")

    head: RequestHead
    body: JsonObject = field(default_factory=dict)


class OperationResponse(Struct, frozen=True, kw_only=True):
    """A JSON value, or no body at all with ``None``."""

    body: object = None
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """Paths that a dialect, or a plugin, answers itself.

    The core does the routing, checks the client's key unless ``public``, limits and parses the body, and
    encodes errors: in the operation's dialect, or without one in that of the client. ``answer`` does no I/O of its own;
    the first line of its docstring describes the paths in ``/openapi.json``.
    ``shared``: other dialects have the same path, so this one answers only requests that its dialect
    ``recognizes``.
    """

    paths: Sequence[str]
    answer: Callable[[OperationRequest, OperationServices], Awaitable[OperationResponse]]
    methods: Sequence[str] = ("GET",)
    shared: bool = False
    public: bool = False
