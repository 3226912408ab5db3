"""Whatever happens to a pool, in whatever order: what always holds, reloads included."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import SecretStr

from proxy_core import Credential, FailureDecision, ProxyRequest, QuotaWindow, Unavailable
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.selectors import BUILT_IN
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import RoutingSettings

MODELS = st.sampled_from(["a", "b", "big-1", "big-2"])
NAMES = ["id-0", "id-1", "id-2", "id-3"]
NAME = st.sampled_from(NAMES)
PRIORITIES = st.lists(st.integers(1, 2), min_size=4, max_size=4)
ROTATION_OPTIONS = {
    "max_concurrent": st.integers(1, 3),
    "preferred_concurrency": st.integers(1, 2),
    "tolerance": st.sampled_from([0, 2]),
    "multipliers": st.just({1: 2}),
    "fair_cycle": st.booleans(),
    "fair_cycle_scope": st.sampled_from(["model_group", "credential"]),
    "fair_cycle_cross_tier": st.booleans(),
    "fair_cycle_s": st.sampled_from([50, 5000]),
    "quota_window_s": st.sampled_from([100, 86_400]),
    "quota_window_begins": st.sampled_from(["clock", "first_request", "sliding"]),
    "windows": st.sampled_from([[], [{"name": "long", "length_s": 300, "begins": "first_request"}]]),
    "caps": st.sampled_from(
        [
            [{"limit": "3"}],
            [{"limit": "80%", "cooldown": "fixed:20"}],
            [{"limit": "2", "cooldown": "offset:40"}],
            [{"limit": "3"}, {"limit": "4", "window": "long"}],
        ]
    ),
}
ROTATIONS = st.fixed_dictionaries({"quota_groups": st.just({"pro": ["big-*"]})}, optional=ROTATION_OPTIONS)
DECISIONS = st.builds(
    FailureDecision,
    fault=st.sampled_from(["client", "credential", "model", "provider", "network"]),
    next=st.just("rotate"),
    error=st.just(Unavailable("no")),
    cooldown=st.sampled_from([None, "credential", "quota", "model", "provider"]),
    cooldown_s=st.sampled_from([None, None, 0.0, 1.0, 40.0, 400.0, 5000.0, 1e9]),
)


#: What a reload may bring besides other values: fewer credentials in another order, models in other groups.
RELOADS = st.fixed_dictionaries(
    {"quota_groups": st.sampled_from([{"pro": ["big-*"]}, {}, {"pro": ["big-*", "a"]}, {"all": ["*"]}])},
    optional=ROTATION_OPTIONS,
)


class Clock:
    time = 1000.0

    def monotonic(self):
        return self.time

    def now(self):
        return datetime.fromtimestamp(self.time, UTC)


def keys(names, priorities):
    return [
        Credential(
            id=name,
            provider="demo",
            kind="api_key",
            secret=SecretStr(f"key-{name}"),
            label=f"k{name[-1]}",
            priority=priorities[NAMES.index(name)],
        )
        for name in names
    ]


class Rotation(RuleBasedStateMachine):
    @initialize(selector=st.sampled_from(BUILT_IN), rotation=ROTATIONS, priorities=PRIORITIES)
    def start(self, selector, rotation, priorities):
        self.clock = Clock()
        self.routing = RoutingSettings(circuit_breaker_failures=3)
        policy = Policy(selector, RotationSettings(**rotation), self.routing)
        self.pool = Pool(self.clock, policy, keys(NAMES, priorities))
        self.ledger = self.pool.ledger
        self.open = []

    # --- What happens --------------------------------------------------------------------

    @rule(
        model=MODELS, tried=st.sets(NAME, max_size=2), worst=st.sampled_from([None, None, 1]), session=st.integers(0, 3)
    )
    def take(self, model, tried, worst, session):
        now = self.clock.time
        request = ProxyRequest(
            id="r", client="c", dialect="d", model=model, stream=False, body={}, session=str(session)
        )
        outage = self.ledger.outage
        shut = outage is not None and outage.closed(now)
        able = {row.id: row for row in self.ledger.rows if self.usable(model, row) and row.id not in tried}
        able = {name: row for name, row in able.items() if worst is None or row.priority <= worst}
        own = self.ledger.group(model).of(model)
        rests = {row.id for row in self.ledger.rows if self.rests(model, row) or row.id in own}
        lease = self.pool.take(request, model, tried, worst)
        if lease is None:
            assert shut or not able
            return
        name = lease.credential.id
        assert not shut
        assert name in able
        assert able[name].priority == min(row.priority for row in able.values())
        assert lease.probes == (outage is not None or name in rests)
        self.open.append(lease)

    @rule(data=st.data(), decision=DECISIONS, back=st.booleans())
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
            lease.release()
            lease.release()

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

    @rule(name=st.none() | NAME, model=st.none() | MODELS)
    def clear(self, name, model):
        self.pool.clear(name, model)

    # --- What always holds ---------------------------------------------------------------

    def rests(self, model, row):
        group = self.ledger.group(model)
        return [c for c in (row.cooldown, group.cooldowns.get(row.id)) if c is not None]

    def usable(self, model, row):
        """From the definitions, the slow way."""
        own = self.ledger.group(model).of(model).get(row.id)
        if own is not None and (own.probing or self.clock.time < own.probe_at):
            return False
        return self.load(self.ledger.settled(model, self.clock.time), model, row) < math.inf

    def load(self, group, model, row):
        now = self.clock.time
        capped = [each.capped.get(row.id, now) > now for each in self.ledger.windows_of(group)]
        if row.in_flight >= row.max_concurrent or any(capped) or self.aside(group, model, row):
            return math.inf
        if any(rest.probing or now < rest.probe_at for rest in self.rests(model, row)):
            return math.inf
        busy = 0 if row.in_flight < row.preferred else row.in_flight - row.preferred + 1
        return row.priority * 1e12 + busy * 1e9 + group.used.get(row.id, 0)

    def aside(self, group, model, row):
        policy, now = self.ledger.policy, self.clock.time
        marked = group.marks.get(row.id)
        if not policy.fair_cycle or marked is None or marked + policy.rotation.fair_cycle_s <= now:
            return False
        cross = policy.rotation.fair_cycle_cross_tier
        members = [other for other in self.ledger.rows if cross or other.priority == row.priority]
        if any(other.id not in group.marks for other in members):
            return True
        return any(0 < rest.until - now < 90 for other in members for rest in self.rests(model, other))

    @invariant()
    def leases_are_counted(self):
        counts = dict.fromkeys(self.ledger.known, 0)
        for lease in self.open:
            counts[lease.credential.id] += 1
        assert {name: row.in_flight for name, row in self.ledger.known.items()} == counts
        assert self.pool.in_flight == len(self.open)

    @invariant()
    def no_limit_is_exceeded(self):
        assert all(row.in_flight <= row.max_concurrent for row in self.ledger.rows)

    @invariant()
    def what_is_known_is_what_is_listed_and_what_is_lent(self):
        listed = {row.id for row in self.ledger.rows}
        assert [row.position for row in self.ledger.rows] == list(range(len(self.ledger.rows)))
        assert set(self.ledger.known) == listed | {lease.credential.id for lease in self.open}
        assert {name for name, row in self.ledger.known.items() if not row.retired} == listed
        for group in self.ledger.groups.values():
            assert len(group.loads) == len(listed)
            assert {*group.used, *group.marks, *group.cooldowns, *group.windows, *group.capped} <= set(NAMES)
            assert all(cooldowns and cooldowns.keys() <= set(NAMES) for cooldowns in group.of_model.values())

    @invariant()
    def loads_are_what_the_definitions_say(self):
        for model in ("a", "b", "big-1"):
            group, rows = self.ledger.settled(model, self.clock.time), self.ledger.rows
            assert group.loads == [self.load(group, model, row) for row in rows]
            assert group.lowest == min(group.loads, default=math.inf)
            assert set(group.due) == {
                row.id for row in rows if self.rests(model, row) and group.loads[row.position] < math.inf
            }

    @invariant()
    def each_rest_is_tried_by_one(self):
        probed = [cooldown for lease in self.open for cooldown in lease._use.probes]
        assert len(probed) == len(set(probed))
        kept = [c for group in self.ledger.groups.values() for c in (group.cooldowns, *group.of_model.values())]
        groups = [cooldown for cooldowns in kept for cooldown in cooldowns.values()]
        rests = [c for c in (self.ledger.outage, *(row.cooldown for row in self.ledger.known.values()), *groups) if c]
        assert {c for c in rests if c.probing} <= set(probed)

    @invariant()
    def nothing_piles_up(self):
        assert len(self.ledger._wakes) <= 2 * 4 + 1
        assert len(self.ledger._changed) <= 4

    @invariant()
    def the_soonest_time_is_right(self):
        """Zero if somebody is usable; never longer than a probe, a cap or a cycle may take."""
        for model in ("a", "big-2"):
            soonest_s = self.pool.soonest_s(model)
            outage = self.ledger.outage
            usable = any(self.usable(model, row) for row in self.ledger.rows)
            if usable and (outage is None or not outage.closed(self.clock.time)):
                assert soonest_s == 0
            sliding = self.ledger.policy.rotation.quota_window_begins == "sliding"
            assert soonest_s <= 86_500 * (1 + sliding) if self.ledger.rows else soonest_s is None

    def teardown(self):
        """With no lease out and no failure, time heals everything."""
        if not hasattr(self, "pool"):
            return
        for lease in self.open:
            lease.release()
        assert self.pool.in_flight == 0
        assert len(self.ledger.known) == len(self.ledger.rows)
        for model in ("a", "b", "big-1") if self.ledger.rows else ():
            soonest_s = self.pool.soonest_s(model)
            self.clock.time += soonest_s
            if soonest_s > 0:  # a cycle may have begun to wait for a short rest
                self.clock.time += 90
            request = ProxyRequest(id="r", client="c", dialect="d", model=model, stream=False, body={})
            assert self.pool.take(request, model).release() is None
        self.clock.time += 700_000
        assert self.pool.cooling_down() == {}
        for model in ("a", "b", "big-1"):
            assert all(self.usable(model, row) for row in self.ledger.rows)


class RotationAcrossReloads(Rotation):
    """Settings are read again at any moment, with leases out: credentials come, go and return, in any order."""

    @rule(
        selector=st.sampled_from(BUILT_IN),
        rotation=RELOADS,
        names=st.lists(NAME, unique=True),
        priorities=PRIORITIES,
    )
    def reload(self, selector, rotation, names, priorities):
        known = dict(self.ledger.known)
        outage, streak = self.ledger.outage, self.ledger.streak
        cooldowns = {name: row.cooldown for name, row in known.items()}
        self.pool.configure(keys(names, priorities), Policy(selector, RotationSettings(**rotation), self.routing))

        assert [row.id for row in self.ledger.rows] == names
        assert all(self.ledger.known.get(name, row) is row for name, row in known.items())
        assert (self.ledger.outage, self.ledger.streak) == (outage, streak)
        assert all(row.cooldown is cooldowns.get(row.id) for row in self.ledger.rows)

    @rule(names=st.lists(NAME, unique=True, min_size=1))
    def reload_of_the_same_settings_in_another_order(self, names):
        """What each credential has used, and what keeps it back, is as it was."""
        used = {name: dict(group.used) for name, group in self.ledger.groups.items()}
        kept = {name: row.credential for name, row in self.ledger.known.items() if name in names}
        self.pool.configure(list(kept.values()), self.ledger.policy)

        for name, group in self.ledger.groups.items():
            assert {one: group.used.get(one, 0) for one in kept} == {one: used[name].get(one, 0) for one in kept}

    @invariant()
    def no_limit_is_exceeded(self):
        """Leases that were out when a limit was lowered may; :meth:`take` never goes beyond it."""


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRotationAcrossReloads = RotationAcrossReloads.TestCase
TestRotationAcrossReloads.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 30, 70, 250]), st.integers(0, 3)), max_size=25),
    st.sampled_from(["clock", "first_request", "sliding"]),
)
@example([(0, 1), (30, 1), (70, 1), (70, 2), (70, 1), (70, 1), (30, 3)], "first_request")
def test_windows_are_what_a_simple_model_says(steps, begins):
    """The model keeps every request, and counts those since the window began. One that is refused begins none."""
    limits = {"": (100, 3), "long": (300, 5)}
    clock = Clock()
    rotation = RotationSettings(
        quota_window_s=100,
        quota_window_begins=begins,
        windows=[{"name": "long", "length_s": 300, "begins": begins}],
        caps=[{"window": name, "limit": str(limit)} for name, (_, limit) in limits.items()],
    )
    pool = Pool(clock, Policy(BUILT_IN[0], rotation), keys(["id-0"], [1] * 4))
    request = ProxyRequest(id="r", client="c", dialect="d", model="a", stream=False, body={})
    served = {name: [] for name in limits}
    ends = dict.fromkeys(limits, -math.inf)
    times = []
    for seconds, requests in steps:
        clock.time += seconds
        for _ in range(requests):
            now = clock.time
            open_now = {name: served[name] if now < ends[name] else [] for name in limits}
            if begins == "sliding":
                free = all(fits(times, now, length, limit) for length, limit in limits.values())
            else:
                free = all(len(open_now[name]) < limit for name, (_, limit) in limits.items())
            lease = pool.take(request, "a")
            assert (lease is not None) == free
            if lease is not None:
                lease.release()
                times.append(now)
                for name, (length, _) in limits.items():
                    if not open_now[name]:
                        ends[name] = (now if begins == "first_request" else now // length * length) + length
                    served[name] = [*open_now[name], now]


def fits(times, now, length, limit):
    """Whether one more request is within a sliding window's limit, if those of the part before came evenly spread."""
    part = now // length
    here, before = (sum(time // length == one for time in times) for one in (part, part - 1))
    return before * ((part + 1) * length - now) <= (limit - 1 - here) * length
