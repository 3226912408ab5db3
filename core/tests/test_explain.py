"""Saying why: decisions as they were taken, and the state of things for the operator."""

import json

from proxy_core.rotation.explain import as_json, decided, described


def decision(desk, lease=None, tried=(), worst=None, model="m", unable=()):
    tried, unable = ({desk.id(name) for name in names} for names in (tried, unable))
    return decided(desk.pool, model, lease, tried, "demo/m", 0.5, worst, unable)


def reasons(desk, **more):
    labels = {c.id: c.label for c in desk.pool.credentials}
    return {labels[e.credential]: e.reason for e in decision(desk, **more).excluded}


def test_a_decision_names_the_choice_and_counts_who_could_serve(desk):
    desk = desk(3)
    lease = desk.take()
    said = decision(desk, lease)

    assert (said.chosen, said.candidates, said.probe) == (lease.credential.id, 3, False)
    assert (said.deployment, said.at_s, said.excluded) == ("demo/m", 0.5, [])


def test_each_exclusion_has_its_reason(desk, clock):
    desk = desk(
        [1, 1, 1, 1, 1, 1, 9, 1],
        fair_cycle=True,
        max_concurrent=1,
        fair_cycle_share=0.3,
        caps=[{"limit": "3"}],
    )
    others = {f"k{n}" for n in range(8)}
    desk.fail(cooldown="credential", cooldown_s=50, tried=others - {"k0"})
    desk.fail(cooldown_s=10, tried=others - {"k1"})
    clock.passes(10)
    assert desk.take().credential.label == "k1"  # a probe
    desk.learn(lease=desk.take(tried=others - {"k2"}), limit=10, used=3)
    desk.take(tried=others - {"k3"})
    desk.learn(lease=desk.take(tried=others - {"k4"}), limit=5, used=1)
    said = reasons(desk, tried=["k5"], worst=1, unable=["k7"])

    assert said == {
        "k0": "cooling down",
        "k1": "probing",
        "k2": "capped",
        "k3": "busy",
        "k4": "fair cycle",
        "k5": "tried",
        "k6": "priority",
        "k7": "unable",
    }


def test_a_cooldown_is_reported_with_its_remaining_time_and_the_upstreams_message(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=7200, message="Too many tokens per day.")
    clock.passes(100)
    (exclusion,) = decision(desk).excluded

    assert (exclusion.left_s, exclusion.message) == (200, "Too many tokens per day.")


def test_of_a_thousand_a_few_are_named_and_the_others_counted(desk):
    desk = desk(1000)
    for _ in range(100):
        desk.fail(cooldown_s=50)
    said = decision(desk)

    assert (len(said.excluded), said.unnamed, said.candidates) == (20, 80, 900)


def test_while_a_circuit_breaker_is_open_it_is_the_reported_reason(desk):
    desk = desk(2)
    desk.fail(cooldown="provider", cooldown_s=25, fault="provider")
    said = decision(desk, model="never asked for")

    assert said.outage_s == 25
    assert said.excluded == []


def test_as_json_leaves_out_what_says_nothing(desk):
    desk = desk(2)
    desk.fail(cooldown_s=49.96)
    lease = desk.take()

    assert as_json(decision(desk, lease), str) == {
        "deployment": "demo/m",
        "candidates": 1,
        "excluded": [
            {"credential": desk.id("k0"), "reason": "cooling down", "left_s": 50.0, "upstream_message": "Slow down."}
        ],
        "chosen": lease.credential.id,
        "at_s": 0.5,
    }


def test_an_empty_pool_chooses_no_credential(desk):
    assert as_json(decision(desk(0)), str)["chosen"] is None


def test_the_operator_sees_since_when_until_when_and_the_next_probe(desk, clock):
    desk = desk(2, quota_groups={"pro": ["big-*"]})
    desk.fail("big-1", cooldown_s=7200, message="Quota used up.")
    clock.passes(60)
    told = described(desk.pool, "big-2", str)
    first, second = told["credentials"]

    assert (told["selector"], told["quota_group"], told["outage"]) == ("sequential", "pro", None)
    assert (first["state"], second["state"]) == ("cooling down", "usable")
    assert first["cooldowns"] == [
        {
            "scope": "pro",
            "since": "1970-01-01T00:16:40+00:00",
            "until": "1970-01-01T02:16:40+00:00",
            "next_probe": "1970-01-01T00:21:40+00:00",
            "probing": False,
            "failures": 1,
            "code": "capacity_exhausted",
            "upstream_message": "Quota used up.",
        }
    ]


def test_the_operator_sees_windows_caps_and_circuit_breakers(desk):
    desk = desk(1, caps=[{"limit": "50"}])
    desk.learn(limit=100, used=60, resets_in=20)
    desk.fail(cooldown="provider", cooldown_s=25, fault="provider", lease=desk.take("other"))
    told = described(desk.pool, "m", str)
    (only,) = told["credentials"]

    assert (only["state"], only["used"], only["limit"]) == ("capped", 60, 100)
    assert only["capped_until"] == only["window_resets"] == "1970-01-01T00:17:00+00:00"
    assert told["outage"]["until"] == "1970-01-01T00:17:05+00:00"


def test_no_secret_is_shown(desk):
    desk = desk(3)
    desk.fail()

    assert "key-" not in json.dumps(described(desk.pool, "m", str))
    assert "key-" not in repr(decision(desk))


def test_inspection_by_the_operator_changes_nothing(desk):
    desk = desk(2, "balanced")
    desk.fail(cooldown_s=50)
    before = described(desk.pool, "m", str)

    assert described(desk.pool, "m", str) == before
    assert desk.ask() == "k1"
