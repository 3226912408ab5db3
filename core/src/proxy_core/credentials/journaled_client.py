"""The HTTP client that refreshers receive: it journals the response to a refresh token before returning it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from urllib.parse import unquote_plus

from msgspec import Struct
from pydantic import SecretStr

from proxy_core.clock import Clock
from proxy_core.credentials.journal import Journal
from proxy_core.interfaces import HttpClient, HttpResponse, TransportFailed
from proxy_core.jsons import loads
from proxy_core.messages import UpstreamRequest

log = logging.getLogger("proxy_core.credentials")


class Recorder(Struct, eq=False):
    """An ``HttpClient`` that writes the response to a request with the refresh token into the journal.

    ``answer`` is a response from a killed process's journal; it is returned instead of sending the request again.
    """

    __repr__ = object.__repr__  # an answer holds tokens

    _exchange: HttpClient
    _journal: Journal | None
    _token: SecretStr | None
    _clock: Clock
    _answer: HttpResponse | None = None
    #: Whether the refresh token was sent.
    sent: bool = False
    #: The server may have consumed the token, and its response is not on disk.
    uncertain: bool = False
    recorded: bool = False
    window_s: float | None = None
    durable_s: float | None = None

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
        if self._token is None or not _spends(request, self._token):
            return await self._exchange(request, timeout_s=timeout_s)
        self.sent = True
        if self._answer is not None:
            return self._answer
        before, self.uncertain = self.uncertain, True
        try:
            answer = await self._exchange(request, timeout_s=timeout_s)
        except TransportFailed as error:
            self.uncertain = before or error.sent
            raise
        arrived = time.perf_counter()
        if gives_tokens(answer):
            await self.record(lambda: self._write(answer), arrived)
        elif 300 <= answer.status < 500:
            self.uncertain = before
        return answer

    async def record(self, write: Callable[[], None], arrived: float) -> None:
        """Write in this thread: within microseconds the data survives the death of the process. Then sync to disk."""
        if self._journal is None:
            return
        try:
            write()
            self.window_s = time.perf_counter() - arrived
            await asyncio.to_thread(self._journal.sync)
            self.durable_s = time.perf_counter() - arrived
            self.recorded = True
        except OSError as error:
            log.error("cannot write the journal of a token refresh: %s", error)

    def _write(self, answer: HttpResponse) -> None:
        if self._journal is not None:
            self._journal.write_answer(answer, self._clock.now())


def gives_tokens(answer: HttpResponse) -> bool:
    """Whether this looks like a successful response from a token endpoint."""
    if not 200 <= answer.status < 300:
        return False
    try:
        fields = loads(answer.body)
    except ValueError:
        return False
    return isinstance(fields, dict) and bool(fields.get("access_token") or fields.get("accessToken"))


def _spends(request: UpstreamRequest, token: SecretStr) -> bool:
    secret = token.get_secret_value()
    sent = request.content.decode("utf-8", "replace")
    return bool(secret) and (secret in sent or secret in unquote_plus(sent) or secret in unquote_plus(request.url))
