"""How long to wait before a retry with the same credential. Pure but for the jitter."""

from __future__ import annotations

import random

from proxy_core.settings.schema import RoutingSettings

_MAX_S = 8.0


def back_off_s(tries: int, requested_s: float | None, routing: RoutingSettings) -> float:
    """Exponential, with jitter; never less than the upstream requested."""
    delay_s = min(_MAX_S, routing.retry_delay_s * 2.0 ** (tries - 1))
    jitter_s = routing.retry_jitter_s * random.random()  # noqa: S311  # spreads retries, hides nothing
    return max(delay_s, requested_s or 0.0) + jitter_s
