"""Pages for the operator that plugins add: values in, values out; the core does HTTP and checks the key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from proxy_core.interfaces.providers import ByteStream
from proxy_core.interfaces.status import ProcessStatus
from proxy_core.messages import JsonObject, repr_without
from proxy_core.settings.loading import LoadedSettings

__all__ = ["AdminPage", "CallProxy", "CallResponse", "PageRequest", "PageResponse", "ReadStatus", "ReadStatuses"]

#: Pages are below this, or have one of ``OTHER_PATHS``, which other programs expect.
ADMIN_ROOT = "/admin/"
OTHER_PATHS = ("/metrics",)


class ReadStatus(Protocol):
    """The status of this process; without ``credentials``, providers have only their counts, which is cheaper."""

    def __call__(self, *, credentials: bool = True) -> ProcessStatus: ...


class ReadStatuses(Protocol):
    """The status of every worker process of this program that answers in time, by worker number."""

    async def __call__(self, *, credentials: bool = True) -> Sequence[ProcessStatus]: ...


class CallResponse(Struct, frozen=True, kw_only=True):
    """The proxy's own response to a page. Names of ``headers`` are lower-case.

    A ``body`` that is a stream is still arriving: a streamed completion or a live feed. Iterating it raises ``OSError``
    if it breaks off; ``aclose`` ends the request behind it, which also happens when the page's own response has ended.
    """

    __repr__ = repr_without("body")

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes | ByteStream


class CallProxy(Protocol):
    """A request to this proxy's own ``path`` (encoded, with its query), which needs no network and no key.

    The page speaks as the operator, and to addresses for clients as the client that is named like its plugin,
    whose limits and usage are those of ``[clients.<plugin>]``. Nothing asks whether the page's own visitor may do
    that: a public page has to. ``body`` is sent as JSON. An error is a response too, as any client receives it.
    """

    async def __call__(self, method: str, path: str, body: JsonObject | None = None) -> CallResponse: ...


class PageRequest(Struct, frozen=True, kw_only=True):
    """What a page is asked. ``path`` is decoded and complete, ``query`` has the last value of each name.

    Names of ``headers`` are lower-case. Keys are in neither: ``admin`` says whether the request
    bore the admin key, which is always so unless the page is public.

    ``sign`` computes a signature of 32 bytes, for sessions and the like. It is the same in every process that has the
    same admin key, another one for each plugin, and no longer the same once the admin key is replaced.

    ``settings`` are those in effect, for the functions of ``proxy_core.cli.api``; they hold secrets. ``read_settings``
    reads them again, as the next start would: it raises ``SettingsError``, and belongs in a thread.
    """

    __repr__ = repr_without("headers", "body", "status", "statuses", "call", "sign", "settings", "read_settings")

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    admin: bool
    status: ReadStatus
    statuses: ReadStatuses
    call: CallProxy
    sign: Callable[[bytes], bytes]
    settings: LoadedSettings
    read_settings: Callable[[], LoadedSettings]


class PageResponse(Struct, frozen=True, kw_only=True):
    """What a page answers.

    A ``body`` that is a stream is a live feed: it is closed when the client leaves, the server
    stops or the settings are replaced, so a client of it reconnects.
    """

    __repr__ = repr_without("body")

    status: int = 200
    content_type: str
    body: bytes | ByteStream = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class AdminPage(Struct, frozen=True, kw_only=True):
    """A page at ``path``: ``/admin/...`` or ``/metrics``; with ``/*`` at its end, everything below it.

    ``respond`` runs on the event loop, so what takes longer than a millisecond belongs in a thread.
    A ``public`` page is shown without the admin key.
    """

    path: str
    respond: Callable[[PageRequest], Awaitable[PageResponse]]
    methods: Sequence[str] = ("GET",)
    public: bool = False
