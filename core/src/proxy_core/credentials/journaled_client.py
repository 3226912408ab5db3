"""The HTTP client that refreshers receive: it journals the response to a refresh token before returning it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, unquote_plus

from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core.clock import Clock
from proxy_core.credentials.journal import Journal
from proxy_core.interfaces import HttpClient, HttpResponse, TransportFailed
from proxy_core.jsons import loads
from proxy_core.messages import UpstreamRequest

log = logging.getLogger("proxy_core.credentials")

_IN_CONFIDENCE = ("secret", "token", "code", "assertion")


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
    #: Whether it was used at all: a plugin may have sockets of its own.
    used: bool = False
    #: Whether the refresh token was sent.
    sent: bool = False
    #: The server may have consumed the token, and its response is not on disk.
    uncertain: bool = False
    recorded: bool = False
    #: The request is under way, or its response is not on disk yet: stopping the process now may lose the login.
    in_flight: bool = False
    window_s: float | None = None
    durable_s: float | None = None
    #: What servers were sent in confidence, and may repeat in what they say.
    secrets: set[str] = field(default_factory=set)

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
        self.used = True
        self.secrets.update(_secrets_in(request))
        if self._token is None or not _spends(request, self._token):
            return await self._exchange(request, timeout_s=timeout_s)
        self.sent = True
        if self._answer is not None:
            return self._answer
        before, self.uncertain = self.uncertain, True
        self.in_flight = True
        try:
            answer = await self._exchange(request, timeout_s=timeout_s)
        except TransportFailed as error:
            self.uncertain, self.in_flight = before or error.sent, False
            raise
        arrived = time.perf_counter()
        if gives_tokens(answer):
            await self.record(lambda: self._write(answer), arrived)
            self.in_flight = not self.recorded
            return answer
        self.in_flight = False
        if 300 <= answer.status < 500:
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


def _secrets_in(request: UpstreamRequest) -> Iterator[str]:
    """By the names of headers and of a form's fields."""
    yield from (value.rpartition(" ")[2] for name, value in request.headers if name.lower() == "authorization")
    form = parse_qsl(request.content.decode("utf-8", "replace"), max_num_fields=100)
    yield from (value for name, value in form if any(word in name for word in _IN_CONFIDENCE))


def _spends(request: UpstreamRequest, token: SecretStr) -> bool:
    secret = token.get_secret_value()
    sent = request.content.decode("utf-8", "replace")
    return bool(secret) and (secret in sent or secret in unquote_plus(sent) or secret in unquote_plus(request.url))
