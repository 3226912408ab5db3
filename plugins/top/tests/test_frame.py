"""What is said of accounts and requests: on values, at noon, on a clock two hours east of UTC."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from proxy_core import (
    CooldownStatus,
    CredentialStatus,
    Health,
    ProcessStatus,
    ProviderStatus,
    QuotaStatus,
    RecentRequest,
    StoreStatus,
    Usage,
)
from proxy_plugin_top.accounts import providers
from proxy_plugin_top.frame import Reading, Used, accounts, fitted, heading, plain, requests
from proxy_plugin_top.once import encodable
from proxy_plugin_top.words import clean, count, cut, long, money, padded, seconds, shortened

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def two_hours_east(monkeypatch):
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def hours(number):
    return NOW + timedelta(hours=number)


def cooldown(until=None, message="Slow down.", **more):
    given = {"since": NOW, "next_probe": NOW, "probing": False, "failures": 1, "code": "c", **more}
    return CooldownStatus(until=until or hours(1), message=message, **given)


def quota(name="small", used=40, limit=100.0, resets=None, **more):
    fields = {"reported": False, "capped_until": None, "cooldown": None, "resets_at": resets or hours(6), **more}
    return QuotaStatus(name=name, used=used, limit=limit, **fields)


def credential(label="work", *quotas, **more):
    given = {
        "id": f"id-{label}",
        "kind": "api_key",
        "tier": None,
        "priority": 10,
        "state": "usable",
        "note": "",
        "in_flight": 0,
        "max_concurrent": None,
        "last_used_at": None,
        "expires_at": None,
        "refreshable": False,
        "cooldown": None,
        **more,
    }
    return CredentialStatus(label=label, quotas=quotas, **given)


def provider(*credentials, name="groq", **more):
    return ProviderStatus(
        name=name,
        plugin="p",
        dialects=(),
        selector="s",
        lifecycle="active",
        credential_count=len(credentials),
        in_flight=0,
        waiting=more.pop("waiting", 0),
        cooling_down=0,
        partly_cooling_down=0,
        circuit_breaker=more.pop("circuit_breaker", None),
        credentials=credentials,
        **more,
    )


def process(*providers, **more):
    given = {
        "worker": 1,
        "parent": None,
        "health": Health(state="ok", problems=()),
        "requests_in_flight": 0,
        "recent": (),
        **more,
    }
    return ProcessStatus(
        version="0.1.0",
        python="3.11",
        process=1,
        taken_at=NOW,
        started_at=hours(-3),
        warnings=(),
        providers=providers,
        plugins=(),
        store=StoreStatus(scheme="memory", problem=None, processes=1),
        queues=(),
        failures={},
        requests=(),
        attempts=(),
        latencies=(),
        plugin_times=(),
        **given,
    )


def request(**more):
    given = {
        "id": "r",
        "client": "laptop",
        "dialect": "openai_chat",
        "model": "groq/small",
        "deployment": "groq/small",
        "credential": "id-work",
        "attempts": 1,
        "stream": False,
        "status": 200,
        "outcome": "completed",
        "error": None,
        "started_at": NOW,
        "first_event_s": 0.2,
        "duration_s": 1.5,
        "usage": Usage(prompt=1200, completion=30),
        "cost": 0.0123,
        **more,
    }
    return RecentRequest(**given)


def reading(*credentials, today=None, recent=(), **more):
    return Reading(statuses=[process(provider(*credentials, **more), recent=recent)], at=NOW, today=today)


def shown(*credentials, width=120, **more):
    return plain(accounts(reading(*credentials, **more), width))


def summary(*credentials, **more):
    return plain(heading("it", reading(*credentials, **more))).splitlines()[1]


# --- Accounts ----------------------------------------------------------------------------


SPENT = quota("small", used=100)
LIMITED = cooldown(hours(2), kind="rate_limit")
WEEKLY = quota("small (weekly)", used=10, limit=1000.0, resets=hours(60))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (credential("work"), "usable"),
        (credential("work", quota()), "usable"),
        (credential("work", state="busy"), "busy"),
        (credential("work", state="needs login", note="The login has ended."), "needs login"),
        (credential("work", cooldown=cooldown(hours(2))), "cooling down until 16:00 (2 h)"),
        (credential("work", cooldown=cooldown(hours(-1)), state="probing"), "probing"),
        (credential("work", SPENT), "used up until 20:00 (6 h)"),
        (credential("work", SPENT, WEEKLY), "used up until 20:00 (6 h)"),
        (credential("work", quota(), quota("small (weekly)", used=9, limit=9.0, resets=hours(60))),
         "used up until Tue 01 Dec 02:00 (2 d 12 h)"),
        (credential("work", SPENT, quota("large")), "partly usable"),
        (credential("work", quota(limit=None, cooldown=LIMITED)), "used up until 16:00 (2 h)"),
        (credential("work", quota(limit=None, cooldown=cooldown(hours(2)))), "cooling down until 16:00 (2 h)"),
        (credential("work", quota("large", cooldown=cooldown(hours(2))), SPENT), "used up until 16:00 (2 h)"),
        (credential("work", quota(cooldown=cooldown(hours(2))), quota("large")), "partly usable"),
        (credential("work", cooldown=LIMITED), "used up until 16:00 (2 h)"),
        (credential("work", cooldown=cooldown(hours(2), kind="refused")), "rejected by the provider"),
        (credential("work", cooldown=cooldown(hours(-1), kind="unpaid")), "no credit left"),
        (credential("work", quota(limit=None, capped_until=hours(3), cap=40.0)), "used up until 20:00 (6 h)"),
        (credential("work", SPENT, quota("large", used=100, resets=hours(2))), "used up until 16:00 (2 h)"),
    ],
)  # fmt: skip
def test_an_account_says_whether_it_can_be_used_and_until_when_not(one, words):
    first = shown(one, width=80).splitlines()[1]

    assert re.split("  +", first.strip())[1] == words


def test_an_account_that_serves_some_models_is_usable_and_says_which_it_does_not():
    some = credential("work", quota("small", cooldown=cooldown(hours(2), message="Too hot.")), quota("large"))

    assert summary(some, credential("home")) == "accounts all 2 usable, 1 of them partly"
    assert "\n    not for small until 16:00 (2 h): Too hot." in shown(some)
    full = [quota(f"m{number}", used=100) for number in range(5)]
    assert "not for m0 until 20:00 (6 h), m1 until 20:00 (6 h), m2 until 20:00 (6 h) and 2 more" in shown(
        credential("work", *full, quota("large"))
    )


def test_the_summary_names_who_is_used_up_until_when():
    assert summary() == "accounts none: run `proxy-core init`, or set a provider's key"
    assert summary(credential("work"), credential("home")) == "accounts all 2 usable"
    assert summary(credential("work", SPENT), credential("home")) == (
        "accounts 1 of 2 usable; work used up until 20:00 (6 h)"
    )
    assert summary(*(credential(f"a{n}", SPENT) for n in range(9))).endswith("and 6 more")


def test_a_quota_has_a_bar_its_reset_pace_and_forecast():
    text = shown(credential("work", quota(per_hour=20.0, empty_at=hours(3), reserved_for=("agents",))), width=80)

    assert "████░░░░░░ 40/100 small, empty at 17:00 (3 h), the rest kept for agents, resets 20:00 (6 h), 20/h" in text
    assert "40 used small" in shown(credential("work", quota(limit=None)))
    assert "resets" not in shown(credential("work", quota(limit=None)))


def test_the_message_of_the_upstream_stands_below_its_account():
    assert "\n    Slow down." in shown(credential("work", cooldown=cooldown()))


def test_of_several_processes_the_latest_figures_count():
    one = process(provider(credential("work", quota(used=3), in_flight=1), waiting=1))
    other = process(provider(credential("work", quota(used=5), in_flight=2, cooldown=cooldown()), waiting=2), worker=2)
    (found,) = providers([one, other], NOW)
    (account,) = found.accounts

    assert (found.waiting, account.in_flight, account.quotas[0].used) == (3, 3, 5)
    assert account.condition.words == "cooling down"


def test_an_open_circuit_breaker_is_shown():
    assert "circuit breaker open, next probe 14:00: Slow down." in shown(credential(), circuit_breaker=cooldown())


def test_accounts_of_a_provider_that_fails_are_not_usable():
    down = replace(cooldown(), next_probe=hours(1))

    assert summary(credential("work"), circuit_breaker=down) == (
        "accounts 0 of 1 usable; work its provider fails until 15:00 (1 h)"
    )
    assert summary(credential("work", state="needs login"), circuit_breaker=down) == (
        "accounts 0 of 1 usable; work needs login"
    )
    assert summary(credential("work"), circuit_breaker=replace(down, next_probe=hours(-1))) == (
        "accounts 0 of 1 usable; work its provider fails"
    )


def test_a_probe_that_is_due_waits_for_a_request():
    due = replace(cooldown(), next_probe=hours(-0.1))

    assert "circuit breaker open, the next request probes it: Slow down." in shown(credential(), circuit_breaker=due)


def test_names_that_differ_at_their_ends_are_told_apart():
    names = [f"providers.acme.api_keys.{number}" for number in range(2)]
    lines = shown(*map(credential, names)).splitlines()

    assert [line.split()[1] for line in lines[1:]] == ["providers.…pi_keys.0", "providers.…pi_keys.1"]
    assert shortened("work", 4) == "work"
    assert cell_len(shortened("漢字" * 20, 13)) <= 13


def test_further_quotas_stand_below_the_first():
    wide = shown(credential("work", quota("large"), quota("small", used=60)), width=120).splitlines()[1:]
    narrow = shown(credential("work", quota("large"), quota("small", used=60)), width=80).splitlines()[2:]

    assert wide[0].index("█") == wide[1].index("█")
    assert [line.index("█") for line in narrow] == [4, 4]


def test_of_many_accounts_those_with_trouble_come_first_and_the_rest_is_counted():
    many = [credential(f"a{n}") for n in range(1000)]
    many[700] = credential("a700", SPENT)
    lines = shown(*many).splitlines()

    assert "a700" in lines[1]
    assert lines[-1].strip() == "and 900 more"


# --- Today and requests ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "text"),
    [
        (None, "not known, because the store does not answer"),
        (Used(), "$0.00, 0 tokens, 0 requests"),
        (Used(requests=3, tokens=45_123, cost=1.239, priced=3), "$1.24, 45.1k tokens, 3 requests"),
        (Used(requests=3, failures=2, tokens=9, cost=0.002, priced=1),
         "$0.0020, 9 tokens, 3 requests, 2 failed attempts (2 without a known price)"),
        (Used(requests=3, tokens=9), "cost unknown, 9 tokens, 3 requests (3 without a known price)"),
        (Used(requests=3, tokens=9, priced=1), "cost unknown, 9 tokens, 3 requests (2 without a known price)"),
        (Used(requests=1, failures=1, priced=1), "$0.00, 0 tokens, 1 request, 1 failed attempt"),
    ],
)  # fmt: skip
def test_today_has_its_cost(today, text):
    assert f"today    {text}" in plain(heading("it", reading(today=today)))


def test_requests_are_shown_newest_first():
    recent = [request(started_at=hours(0), client="old"), request(started_at=hours(0.1), client="new")]
    head, first, second = plain(requests(reading(credential("work"), recent=recent), 10, 120)).splitlines()

    assert head.index("account") == first.index("work")
    assert head.index("client") == first.index("new")
    assert head.index("tokens") == first.index("1,200")
    assert first.split() == [
        "14:06:00",
        "200",
        "1.5",
        "s",
        "200",
        "ms",
        "1,200+30",
        "$0.0123",
        "work",
        "new",
        "groq/small",
    ]
    assert "old" in second
    assert plain(requests(reading(), 10, 120)) == "no request yet"


def test_a_failed_request_says_how_it_ended_and_how_often_it_was_tried():
    failed = request(status=429, outcome="failed", error="capacity_exhausted", attempts=3, usage=None, cost=None)
    text = plain(requests(reading(recent=[failed]), 10, 120))

    assert "429 x3 " in text
    assert text.endswith("groq/small capacity_exhausted")


# --- Texts of others ---------------------------------------------------------------------

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07name",
    "[red]name[/red] [@click=app.quit]x[/]",
    "name\u202eeman\u2066",
    "na\x00me\r\nname",
    "n" + "\u0301" * 10_000,
    "\N{FAMILY}" * 300,
    "漢字" * 300,
    "\ud800",
    "{name} %s \\n",
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [20, 80, 200])
def test_whatever_others_wrote_is_one_harmless_line_no_wider_than_the_terminal(text, width):
    one = credential(text, quota(text, cooldown=cooldown(message=text)), note=text)
    trouble = provider(one, name=text, circuit_breaker=cooldown(message=text))
    recent = [request(client=text, model=text, deployment=text, error=text, outcome="failed", credential=one.id)]
    read = Reading(statuses=[process(trouble, recent=recent)], at=NOW)
    lines = [*fitted(accounts(read, width), width), *fitted(requests(read, 5, width), width)]
    whole = plain([*lines, *heading(text, read)])

    assert all(c.isprintable() for c in whole if c != "\n")
    assert all(cell_len("".join(part for part, _ in line)) <= width for line in lines)
    assert len(whole) < 10_000


def test_a_terminal_that_knows_only_ascii_gets_no_error():
    assert encodable("●█░…漢", "ascii") == "+#.~?"
    assert encodable("●", "utf-8") == "●"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count(999), "999"),
        (count(45_123), "45.1k"),
        (count(4_500_000), "4.5M"),
        (money(0.0123), "$0.0123"),
        (money(1234.5), "$1,234.50"),
        (seconds(None), "-"),
        (seconds(0.34), "340 ms"),
        (seconds(2.12), "2.1 s"),
        (seconds(600), "10 min"),
        (long(-5), "under a minute"),
        (cut("漢字漢字", 5), "漢字…"),
        (padded("漢", 4), "漢  "),
        (clean("a\tb\u200b"), "a b"),
    ],
)
def test_values_are_short(found, expected):
    assert found == expected
