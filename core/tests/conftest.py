"""A pool to ask, under a clock that stands still."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from proxy_core import CapacityExhausted, Credential, FailureDecision, ProxyRequest, QuotaWindow
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.selectors import BUILT_IN
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import RoutingSettings
from proxy_core.testing import VirtualClock

SELECTORS = {selector.name: selector for selector in BUILT_IN}


def decision(cooldown=None, cooldown_s=None, fault="model", message="Slow down.", back_off_s=()):
    error = CapacityExhausted(message)
    return FailureDecision(
        fault=fault, next="rotate", error=error, cooldown=cooldown, cooldown_s=cooldown_s, back_off_s=back_off_s
    )


class Desk:
    """Credentials are called k0, k1, ... in the order of settings."""

    decision = staticmethod(decision)

    def __init__(self, pool, clock):
        self.pool = pool
        self.clock = clock

    def take(self, model="m", *, body=None, client="c", session=None, tried=(), worst=None):
        request = ProxyRequest(
            id="r", client=client, dialect="openai_chat", model=model, stream=False, body=body or {}, session=session
        )
        return self.pool.take(request, model, {self.id(name) for name in tried}, worst)

    def ask(self, model="m", **more):
        """Who served, or ``None``; the request has succeeded."""
        lease = self.take(model, **more)
        if lease is None:
            return None
        lease.succeeded()
        lease.release()
        return lease.credential.label

    def fail(self, model="m", cooldown="quota", cooldown_s=None, *, lease=None, tried=(), **more):
        """One request fails; who it was."""
        lease = lease or self.take(model, tried=tried)
        lease.failed(decision(cooldown, cooldown_s, **more))
        lease.release()
        return lease.credential.label

    def cooldown_s(self, model="m"):
        """Seconds until somebody may be had."""
        return self.pool.soonest_s(model)

    def learn(self, model="m", *, lease=None, resets_in=600, **said):
        """A reply says something of the provider's counting; the window unless told otherwise ends in 600 s."""
        lease = lease or self.take(model)
        window = QuotaWindow(resets_at=self.clock.now() + timedelta(seconds=resets_in), **said)
        lease.learned([window], self.clock.now())
        lease.succeeded()
        lease.release()
        return lease.credential.label

    def reload(self, names, selector="sequential", **settings):
        """Settings are read again: these credentials, in this order."""
        self.pool.configure([key(name) for name in names], policy(selector, **settings))

    def id(self, name):
        return next(c.id for c in self.pool.credentials if c.label == name)


@pytest.fixture
def clock():
    return VirtualClock()


def key(name, priority=1):
    """``k0`` has the id ``id-0``."""
    number = name[1:]
    return Credential(
        id=f"id-{number}",
        provider="demo",
        kind="api_key",
        secret=SecretStr(f"key-{number}"),
        label=name,
        priority=priority,
    )


def policy(selector="sequential", routing=None, **rotation):
    return Policy(SELECTORS[selector], RotationSettings(**rotation), RoutingSettings(**(routing or {})))


@pytest.fixture
def desk(clock):
    """``desk(3)``: three credentials; ``desk([1, 2])``: of these priorities."""

    def make(credentials, selector="sequential", *, routing=None, **rotation):
        priorities = [1] * credentials if isinstance(credentials, int) else credentials
        keys = [key(f"k{n}", priority) for n, priority in enumerate(priorities)]
        return Desk(Pool(clock, policy(selector, routing, **rotation), keys), clock)

    return make
