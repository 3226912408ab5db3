"""Whatever happens to a pool, in whatever order: what always holds."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import SecretStr

from proxy_core import FailureDecision, ProxyRequest, QuotaWindow, Unavailable
from proxy_core.credentials.fingerprint import api_key
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.selectors import BUILT_IN
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import RoutingSettings

MODELS = st.sampled_from(["a", "b", "big-1", "big-2"])
PLACES = st.integers(0, 3)
ROTATIONS = st.fixed_dictionaries(
    {"quota_groups": st.just({"pro": ["big-*"]})},
    optional={
        "max_concurrent": st.integers(1, 3),
        "preferred_concurrency": st.integers(1, 2),
        "tolerance": st.sampled_from([0, 2]),
        "multipliers": st.just({1: 2}),
        "fair_cycle": st.booleans(),
        "fair_cycle_scope": st.sampled_from(["model_group", "credential"]),
        "fair_cycle_cross_tier": st.booleans(),
        "fair_cycle_s": st.sampled_from([50, 5000]),
        "quota_window_s": st.sampled_from([100, 86_400]),
        "caps": st.sampled_from(
            [[{"limit": "3"}], [{"limit": "80%", "cooldown": "fixed:20"}], [{"limit": "2", "cooldown": "offset:40"}]]
        ),
    },
)
VERDICTS = st.builds(
    FailureDecision,
    fault=st.sampled_from(["client", "credential", "model", "provider", "network"]),
    next=st.just("rotate"),
    error=st.just(Unavailable("no")),
    cooldown=st.sampled_from([None, "credential", "model", "provider"]),
    cooldown_s=st.sampled_from([None, None, 0.0, 1.0, 40.0, 400.0, 5000.0, 1e9]),
)


class Clock:
    time = 1000.0

    def monotonic(self):
        return self.time

    def now(self):
        return datetime.fromtimestamp(self.time, UTC)


class Rotation(RuleBasedStateMachine):
    @initialize(
        selector=st.sampled_from(BUILT_IN),
        rotation=ROTATIONS,
        priorities=st.lists(st.integers(1, 2), min_size=4, max_size=4),
    )
    def start(self, selector, rotation, priorities):
        self.clock = Clock()
        keys = [
            api_key(f"id-{n}", "demo", SecretStr(f"key-{n}"), f"k{n}", priority=p) for n, p in enumerate(priorities)
        ]
        rules = RoutingSettings(circuit_breaker_failures=3)
        self.pool = Pool(keys, selector, self.clock, RotationSettings(**rotation), rules)
        self.ledger = self.pool.ledger
        self.open = []

    # --- What happens --------------------------------------------------------------------

    @rule(model=MODELS, tried=st.sets(PLACES, max_size=2), worst=st.sampled_from([None, None, 1]), session=PLACES)
    def take(self, model, tried, worst, session):
        now = self.clock.time
        request = ProxyRequest(
            id="r", client="c", dialect="d", model=model, stream=False, body={}, session=str(session)
        )
        outage = self.ledger.outage
        shut = outage is not None and outage.closed(now)
        able = {n for n in range(4) if self.usable(model, n)} - tried
        able = {n for n in able if worst is None or self.priority(n) <= worst}
        rests = {n: self.rests(model, n) for n in range(4)}
        lease = self.pool.take(request, model, {self.ledger.slots[n].credential.id for n in tried}, worst)
        if lease is None:
            assert shut or not able
            return
        assert not shut
        assert lease.index in able
        assert self.priority(lease.index) == min(self.priority(n) for n in able)
        assert lease.probes == (outage is not None or bool(rests[lease.index]))
        self.open.append(lease)

    @rule(data=st.data(), decision=VERDICTS, back=st.booleans())
    def fail(self, data, decision, back):
        if self.open:
            lease = data.draw(st.sampled_from(self.open))
            lease.failed(decision)
            self.end(lease, back)

    @rule(data=st.data(), back=st.booleans())
    def succeed(self, data, back):
        if self.open:
            lease = data.draw(st.sampled_from(self.open))
            lease.succeeded()
            self.end(lease, back)

    @rule(data=st.data())
    def give_back(self, data):
        if self.open:
            self.end(data.draw(st.sampled_from(self.open)), True)

    def end(self, lease, back):
        """Some are given back long after their decision."""
        if back:
            self.open.remove(lease)
            lease.give_back()
            lease.give_back()

    @rule(
        data=st.data(),
        limit=st.sampled_from([None, 2, 5]),
        used=st.sampled_from([None, 0, 4]),
        resets_in=st.sampled_from([-5, 30, 4000]),
        group=st.sampled_from(["", "pro", "a"]),
    )
    def learn(self, data, limit, used, resets_in, group):
        if self.open:
            lease = data.draw(st.sampled_from(self.open))
            resets_at = self.clock.now() + timedelta(seconds=resets_in)
            lease.learned([QuotaWindow(limit=limit, used=used, resets_at=resets_at, group=group)], self.clock.now())

    @rule(seconds=st.sampled_from([0.5, 1, 10, 39, 60, 301, 4000]))
    def time_passes(self, seconds):
        self.clock.time += seconds

    @rule(place=st.none() | PLACES, model=st.none() | MODELS)
    def clear(self, place, model):
        self.pool.clear(None if place is None else self.ledger.slots[place].credential.id, model)

    # --- What always holds ---------------------------------------------------------------

    def priority(self, place):
        return self.ledger.slots[place].credential.priority

    def rests(self, model, place):
        lane = self.ledger.lane(model)
        return [c for c in (self.ledger.slots[place].cooldown, lane.cooldowns.get(place)) if c is not None]

    def usable(self, model, place):
        """From the definitions, the slow way."""
        return self.load(self.ledger.settled(model, self.clock.time), model, place) < math.inf

    def load(self, lane, model, place):
        now, slot = self.clock.time, self.ledger.slots[place]
        if slot.in_flight >= slot.most or lane.capped.get(place, now) > now or self.aside(lane, model, place):
            return math.inf
        if any(rest.probing or now < rest.probe_at for rest in self.rests(model, place)):
            return math.inf
        busy = 0 if slot.in_flight < slot.optimal else slot.in_flight - slot.optimal + 1
        return self.priority(place) * 1e12 + busy * 1e9 + lane.used[place]

    def aside(self, lane, model, place):
        rotation, now = self.ledger.rotation, self.clock.time
        if not self.ledger.fair_cycle or place not in lane.marks or lane.marks[place] + rotation.fair_cycle_s <= now:
            return False
        cross = rotation.fair_cycle_cross_tier
        members = [n for n in range(4) if cross or self.priority(n) == self.priority(place)]
        if any(n not in lane.marks for n in members):
            return True
        return any(0 < rest.until - now < 90 for n in members for rest in self.rests(model, n))

    @invariant()
    def leases_are_counted(self):
        counts = [0] * 4
        for lease in self.open:
            counts[lease.index] += 1
        assert [slot.in_flight for slot in self.ledger.slots] == counts
        assert self.pool.in_flight == len(self.open)
        assert all(slot.in_flight <= slot.most for slot in self.ledger.slots)

    @invariant()
    def loads_are_what_the_definitions_say(self):
        for model in ("a", "b", "big-1"):
            lane = self.ledger.settled(model, self.clock.time)
            assert lane.loads == [self.load(lane, model, place) for place in range(4)]
            assert lane.due == {n for n in range(4) if self.rests(model, n) and lane.loads[n] < math.inf}

    @invariant()
    def each_rest_is_tried_by_one(self):
        probed = [cooldown for lease in self.open for cooldown in lease._use.probes]
        assert len(probed) == len(set(probed))
        lanes = [cooldown for lane in self.ledger.lanes.values() for cooldown in lane.cooldowns.values()]
        rests = [c for c in (self.ledger.outage, *(slot.cooldown for slot in self.ledger.slots), *lanes) if c]
        assert {c for c in rests if c.probing} <= set(probed)

    @invariant()
    def nothing_piles_up(self):
        assert len(self.ledger._wakes) <= 2 * 4 + 1
        assert len(self.ledger._changes) <= 4

    @invariant()
    def the_soonest_time_is_right(self):
        """Zero if somebody is usable; never longer than a probe, a cap or a cycle may take."""
        for model in ("a", "big-2"):
            soonest_s = self.pool.soonest_s(model)
            outage = self.ledger.outage
            if any(self.usable(model, n) for n in range(4)) and (outage is None or not outage.closed(self.clock.time)):
                assert soonest_s == 0
            assert soonest_s <= 86_500

    def teardown(self):
        """With no lease out and no failure, time heals everything."""
        if not hasattr(self, "pool"):
            return
        for lease in self.open:
            lease.give_back()
        for model in ("a", "b", "big-1"):
            soonest_s = self.pool.soonest_s(model)
            self.clock.time += soonest_s
            if soonest_s > 0:  # a cycle may have begun to wait for a short rest
                self.clock.time += 90
            request = ProxyRequest(id="r", client="c", dialect="d", model=model, stream=False, body={})
            assert self.pool.take(request, model).give_back() is None
        self.clock.time += 700_000
        assert self.pool.cooling_down() == {}
        for model in ("a", "b", "big-1"):
            assert all(self.usable(model, n) for n in range(4))


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
