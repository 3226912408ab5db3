"""Faults of the catalogue: every way in which an upstream says that a credential is limited."""

from __future__ import annotations

from collections.abc import Callable

from proxy_core.testing.faults import scripts
from proxy_core.testing.faults.fault import Fault, Scene
from proxy_core.testing.faults.problems import limited, rested
from proxy_core.testing.faults.scripts import WAIT_S
from proxy_core.testing.upstream import Script


def _hint(name: str, why: str, script: Callable[[Scene], Script]) -> Fault:
    return Fault(
        name=f"429: {name}",
        group="limits",
        why=why,
        must=f"Other credentials answer, and the limited one rests for the {WAIT_S} seconds.",
        script=script,
        problem=rested,
        hits="credential",
        requests=3,
        modes=(True,),
        wait_s=WAIT_S,
    )


LIMITS = [
    _hint(
        "Retry-After in seconds",
        "The usual form. Requests within the wait are refused, and some vendors extend it for each of them.",
        scripts.status(429, {"retry-after": str(WAIT_S)}),
    ),
    _hint(
        "Retry-After as a date",
        "HTTP allows it, and gateways in front of an upstream send it.",
        scripts.dated,
    ),
    _hint(
        "retry-after-ms",
        "OpenAI and Azure send milliseconds; read as seconds, a key would rest for hours.",
        scripts.status(429, {"retry-after-ms": str(WAIT_S * 1000)}),
    ),
    _hint(
        "x-ratelimit-reset",
        "Some vendors only send the reset of the limit that is used up; another limit's reset is none of it.",
        scripts.status(
            429,
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{WAIT_S}s",
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-tokens": "1s",
            },
        ),
    ),
    _hint(
        "a member of the body",
        "Gateways drop headers that they do not know; the body passes.",
        scripts.status(429, retry_after=WAIT_S),
    ),
    _hint(
        "a typed retryDelay",
        "Google's APIs put the delay into a typed detail of the error.",
        scripts.status(
            429,
            code=429,
            status="RESOURCE_EXHAUSTED",
            details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{WAIT_S}s"}],
        ),
    ),
    _hint(
        "a sentence",
        "Many upstreams only say it in words.",
        scripts.status(429, message=f"Rate limit reached. Please try again in {WAIT_S}s."),
    ),
    Fault(
        name="429: no hint",
        group="limits",
        why="Without a hint the gateway has to choose a wait itself; none at all sends every request into the limit.",
        must="Other credentials answer, and the limited one rests for a while.",
        script=scripts.status(429),
        problem=rested,
        hits="credential",
        requests=2,
        modes=(True,),
    ),
    Fault(
        name="429: every credential",
        group="limits",
        why="Clients and their SDKs wait as long as Retry-After says; without it they give up, or hammer.",
        must="429 with a Retry-After.",
        script=scripts.status(429, {"retry-after": "900"}),
        problem=limited,
        hits="every",
    ),
]
