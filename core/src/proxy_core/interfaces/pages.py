"""Pages for the operator that plugins add: values in, values out; the core does HTTP and checks the key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from proxy_core.interfaces.providers import ByteStream
from proxy_core.interfaces.status import ProcessStatus
from proxy_core.messages import repr_without

__all__ = ["AdminPage", "PageRequest", "PageResponse", "ReadStatus", "ReadStatuses"]

#: Pages are below this, or have one of ``OTHER_PATHS``, which other programs expect.
ADMIN_ROOT = "/admin/"
OTHER_PATHS = ("/metrics",)


class ReadStatus(Protocol):
    """The status of this process; without ``credentials``, providers have only their counts, which is cheaper."""

    def __call__(self, *, credentials: bool = True) -> ProcessStatus: ...


class ReadStatuses(Protocol):
    """The status of every worker process of this program that answers in time, by worker number."""

    async def __call__(self, *, credentials: bool = True) -> Sequence[ProcessStatus]: ...


class PageRequest(Struct, frozen=True, kw_only=True):
    """What a page is asked. ``path`` is decoded and complete, ``query`` has the last value of each name.

    Names of ``headers`` are lower-case. Keys are in neither: ``admin`` says whether the request
    bore the admin key, which is always so unless the page is public.
    """

    __repr__ = repr_without("headers", "body", "status", "statuses")

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    admin: bool
    status: ReadStatus
    statuses: ReadStatuses


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
