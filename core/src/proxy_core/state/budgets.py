"""Limits of clients: models, requests and tokens per minute, dollars per day.

They are checked against the counts of this process plus those received from other processes, so a limit
can be exceeded by what the others counted since the last exchange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import ceil
from urllib.parse import quote, unquote

from msgspec import Struct

from proxy_core.clock import Clock
from proxy_core.errors import Forbidden, LimitReached
from proxy_core.interfaces import Count, Limits
from proxy_core.interfaces.requests import NO_LIMITS
from proxy_core.settings.schema import ClientSettings

_MINUTE_S = 60
_DAY_S = 86_400
Headers = list[tuple[bytes, bytes]]


class _Meter(Struct):
    """One counter over one period. ``unsent`` has not been sent to the other processes yet."""

    length_s: int
    period: int = -1
    used: float = 0.0
    unsent: float = 0.0

    def at(self, now: float) -> _Meter:
        period = int(now // self.length_s)
        if period != self.period:
            self.period, self.used, self.unsent = period, 0.0, 0.0
        return self

    def add(self, amount: float) -> None:
        self.used += amount
        self.unsent += amount

    def resets_s(self, now: float) -> float:
        return (self.period + 1) * self.length_s - now


class _Client:
    def __init__(self) -> None:
        self.requests, self.tokens, self.cost = _Meter(_MINUTE_S), _Meter(_MINUTE_S), _Meter(_DAY_S)
        self.models: Sequence[str] = ()
        self.limits: Sequence[tuple[str, _Meter, float | None, str]] = ()
        self.limited = False
        self.kinds = NO_LIMITS

    def configure(self, settings: ClientSettings) -> None:
        self.models = tuple(settings.models)
        self.limits = (
            ("requests", self.requests, settings.requests_per_minute, "requests a minute"),
            ("tokens", self.tokens, settings.tokens_per_minute, "tokens a minute"),
            ("cost", self.cost, settings.cost_per_day, "US dollars a day"),
        )
        self.limited = any(limit is not None for _, _, limit, _ in self.limits)
        self.kinds = Limits(models=bool(self.models), cost=settings.cost_per_day is not None)


class Budgets:
    """The limits of all clients, for as long as the process lives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: dict[str, _Client] = {}

    def configure(self, clients: Mapping[str, ClientSettings]) -> None:
        """Go by these limits from now on. What clients have used stays counted."""
        found = {name: self._clients.get(name) or _Client() for name in clients}
        for name, client in found.items():
            client.configure(clients[name])
        self._clients = {name: client for name, client in found.items() if client.limited or client.models}

    def allows(self, client: str, model: str) -> bool:
        known = self._clients.get(client)
        return known is None or not known.models or any(fnmatchcase(model, glob) for glob in known.models)

    def limits(self, client: str) -> Limits:
        known = self._clients.get(client)
        return known.kinds if known is not None else NO_LIMITS

    def check_model(self, client: str, model: str) -> None:
        """Raises ``Forbidden`` for a model that the client may not use."""
        if not self.allows(client, model):
            raise Forbidden(
                f"The model {model!r} is not allowed for this key.", param="model", code="model_not_allowed"
            )

    def admit(self, client: str, model: str) -> None:
        """Count one request. Raises ``Forbidden`` for a model that the client may not use, and ``LimitReached``."""
        known = self._clients.get(client)
        if known is None:
            return
        self.check_model(client, model)
        now = self._clock.now().timestamp()
        for _, meter, limit, words in known.limits:
            if limit is not None and meter.at(now).used >= limit:
                message = f"This key's limit of {limit:.10g} {words} is reached."
                raise LimitReached(message, retry_after_s=meter.resets_s(now))
        known.requests.at(now).add(1)

    def count(self, client: str, tokens: int, cost: float | None) -> None:
        """Count the tokens and cost of a response."""
        known = self._clients.get(client)
        if known is None:
            return
        now = self._clock.now().timestamp()
        known.tokens.at(now).add(tokens)
        known.cost.at(now).add(cost or 0.0)

    def headers(self, client: str) -> Headers:
        """What remains of the limits per minute, in headers that OpenAI's clients know; empty without limits."""
        known = self._clients.get(client)
        if known is None or not known.limited:
            return []
        now, found = self._clock.now().timestamp(), Headers()
        for name, meter, limit, _ in known.limits[:2]:
            if limit is not None:
                left = max(0, int(limit - meter.at(now).used))
                found += [
                    (f"x-ratelimit-limit-{name}".encode(), str(int(limit)).encode()),
                    (f"x-ratelimit-remaining-{name}".encode(), str(left).encode()),
                    (f"x-ratelimit-reset-{name}".encode(), f"{ceil(meter.resets_s(now))}s".encode()),
                ]
        return found

    # --- Shared with other processes -----------------------------------------------------

    def unsent(self) -> Iterator[tuple[str, Count]]:
        """Take the counts since the last call, which then count as sent."""
        now = self._clock.now().timestamp()
        for client, known in self._clients.items():
            for name, meter, limit, _ in known.limits:
                if limit is not None and meter.at(now).unsent:
                    amount, meter.unsent = meter.unsent, 0.0
                    ends = (meter.period + 2) * meter.length_s
                    yield f"client/{quote(client, safe='')}/{name}/{meter.period}", Count(add=amount, expires_at=ends)

    def apply_total(self, name: str, total: float) -> None:
        """Accept the total of all processes."""
        _, client, kind, period = map(unquote, name.split("/"))
        known = self._clients.get(client)
        for limited, meter, _, _ in known.limits if known is not None else ():
            if limited == kind and meter.at(self._clock.now().timestamp()).period == int(period):
                meter.used = max(meter.used, total + meter.unsent)  # a store that lost its data has a lower total
