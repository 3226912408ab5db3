"""The page of accounts: what it says about each, and what its buttons do."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from proxy_core import CooldownStatus, CredentialStatus, Lifecycle, PageRequest, ProviderStatus, QuotaStatus
from proxy_core.cli.api import load
from proxy_core.testing import fingerprint
from proxy_plugin_dashboard import operations
from proxy_plugin_dashboard.page import Asked
from proxy_plugin_dashboard.session import begun
from proxy_plugin_dashboard.views.accounts_model import Known, Unlent, accounts_model
from proxy_plugin_dashboard.words import until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'`{{ 7 * 7 }}&lt;</textarea>\u202e\x00\x1b[31m"""


def cooldown(minutes=30, message="Slow down.", **more):
    until = NOW + timedelta(minutes=minutes)
    values = {
        "since": NOW,
        "until": until,
        "next_probe": until,
        "probing": False,
        "failures": 1,
        "code": "rate_limited",
    }
    return CooldownStatus(message=message, **{**values, **more})


def quota(name="small", used=0, limit=None, resets_in_h=5, **more):
    values = {"reported": False, "capped_until": None, "cooldown": None, **more}
    resets_at = NOW + timedelta(hours=resets_in_h) if resets_in_h else None
    return QuotaStatus(name=name, used=used, limit=limit, resets_at=resets_at, **values)


def credential(name="a", state="usable", **more):
    values = {
        "id": f"id-{name}",
        "label": name,
        "kind": "api_key",
        "tier": None,
        "priority": 1,
        "note": "",
        "in_flight": 0,
    }
    values |= {"max_concurrent": None, "last_used_at": None, "expires_at": None, "refreshable": False, "cooldown": None}
    return CredentialStatus(state=state, **{**values, "quotas": (), **more})


def provider(*credentials, name="demo", **more):
    values = {"plugin": "p", "dialects": (), "selector": "s", "lifecycle": Lifecycle(), "in_flight": 0, "waiting": 0}
    values |= {"cooling_down": 0, "partly_cooling_down": 0, "circuit_breaker": None}
    return ProviderStatus(name=name, credential_count=len(credentials), credentials=credentials, **{**values, **more})


@pytest.fixture
async def status(browsing):
    """A real status, in which tests replace the providers."""
    proxy, _ = await browsing(signed_in=False)
    real = proxy.proxy.status.read()
    return lambda *providers: replace(real, taken_at=NOW, providers=providers)


def plain(page):
    """The text of a page without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def rows(model):
    return [row for group in model.groups for row in group.rows]


async def test_one_of_two_accounts_is_used_up_and_the_summary_names_it_and_when_it_is_back(status):
    used_up = credential("work", quotas=[quota(used=100, limit=100)])
    model = accounts_model([status(provider(credential("home"), used_up))], Known(), {})

    assert (model.summary.total, model.summary.usable, model.summary.waiting, model.summary.act) == (2, 1, 1, 0)
    [row] = model.summary.used_up
    assert (row.label, row.words, row.until) == ("work", "used up", NOW + timedelta(hours=5))


@pytest.mark.parametrize(
    ("account", "tone", "words"),
    [
        (credential(), "good", "usable"),
        (credential(state="busy"), "good", "busy"),
        (credential(state="cooling down", cooldown=cooldown()), "warn", "cooling down"),
        (credential(state="probing", cooldown=cooldown(-1, probing=True)), "warn", "being probed"),
        (credential(state="needs login", note="log in"), "bad", "needs login"),
        (credential(state="needs setup", note="a project"), "bad", "needs setup"),
        (credential(state="cooling down", cooldown=cooldown(kind="rate_limit")), "warn", "used up"),
        (credential(state="cooling down", cooldown=cooldown(kind="refused")), "bad", "rejected by the provider"),
        (credential(state="probing", cooldown=cooldown(-1, kind="refused")), "bad", "rejected by the provider"),
        (credential(cooldown=cooldown(-1, kind="refused")), "bad", "rejected by the provider"),
        (credential(state="cooling down", cooldown=cooldown(kind="unpaid")), "bad", "no credit left"),
        (credential(cooldown=cooldown(-1)), "good", "usable"),
        (credential(quotas=[quota(cooldown=cooldown())]), "warn", "cooling down"),
        (credential(quotas=[quota(cooldown=cooldown(kind="rate_limit"))]), "warn", "used up"),
        (credential(quotas=[quota("a", cooldown=cooldown()), quota("b", cooldown=cooldown())]), "warn", "cooling down"),
        (credential(quotas=[quota("a", cooldown=cooldown()), quota("b", used=3)]), "part", "partly usable"),
        (credential(quotas=[quota("a", 1, 5), quota("a (weekly)", 5, 5)]), "warn", "used up"),
        (credential(quotas=[quota(capped_until=NOW + timedelta(hours=1))]), "warn", "used up"),
        (credential(quotas=[quota("a", 5, 5), quota("b", 1, 5)]), "part", "partly usable"),
        (credential(quotas=[quota(used=3, limit=0)]), "warn", "used up"),
        (credential(quotas=[quota(used=500)]), "good", "usable"),
    ],
)
async def test_every_state_has_words_and_a_tone(status, account, tone, words):
    [row] = rows(accounts_model([status(provider(account))], Known(), {}))

    assert (row.tone, row.words) == (tone, words)


async def test_an_account_that_serves_some_models_counts_as_usable_and_says_which_it_does_not(status):
    quotas = [quota("c"), quota("b", cooldown=cooldown(20)), quota("a", 5, 5)]
    model = accounts_model([status(provider(credential(quotas=quotas)))], Known(), {"only": "usable"})
    [row] = rows(model)

    assert (row.without, row.until) == (["a", "b"], NOW + timedelta(minutes=20))
    assert (model.summary.usable, model.summary.partly, model.summary.waiting) == (1, 1, 0)


async def test_an_account_of_a_provider_that_fails_is_not_usable(status):
    accounts = credential("a"), credential("b", "needs login", note="why")
    model = accounts_model([status(provider(*accounts, circuit_breaker=cooldown(5)))], Known(), {})

    assert [(row.words, row.until) for row in rows(model)] == [
        ("its provider fails", NOW + timedelta(minutes=5)),
        ("needs login", None),
    ]
    assert (model.summary.usable, model.summary.waiting, model.summary.act) == (0, 1, 1)


async def test_bars_say_how_much_is_used_and_when_it_will_be_empty(status):
    empty_at = NOW + timedelta(hours=1)
    quotas = [
        quota("a", 10, 100),
        quota("b", 90, 100),
        quota("c", 50, 100, per_hour=50.0, empty_at=empty_at),
        quota("d", 7),
    ]
    [row] = rows(accounts_model([status(provider(credential(quotas=quotas)))], Known(), {}))

    assert [(bar.percent, bar.tone) for bar in row.bars] == [(10, "good"), (90, "warn"), (50, "warn"), (None, "good")]
    assert row.bars[2].empty_at == empty_at


async def test_workers_are_added_up_and_their_longest_cooldown_counts(status):
    one = provider(credential(in_flight=2, quotas=[quota(used=3, limit=9)]), in_flight=2, waiting=1)
    cooling = credential(state="cooling down", cooldown=cooldown(), in_flight=1, quotas=[quota(used=4, limit=9)])
    model = accounts_model([status(one), status(provider(cooling, in_flight=1))], Known(), {})
    [row] = rows(model)

    assert (row.words, row.in_flight, row.bars[0].used) == ("cooling down", 3, 4)
    assert (model.groups[0].in_flight, model.groups[0].waiting) == (3, 1)


async def test_a_thousand_accounts_are_paged_and_searched(status):
    many = provider(*(credential(f"account-{number}") for number in range(1000)))
    first = accounts_model([status(many)], Known(), {})
    last = accounts_model([status(many)], Known(), {"page": "20"})
    found = accounts_model([status(many)], Known(), {"q": "ACCOUNT-77 demo"})

    assert (len(rows(first)), first.last, first.summary.total) == (50, 20, 1000)
    assert rows(last)[-1].label == "account-999"
    assert [row.label for row in rows(found)] == ["account-77", *(f"account-77{n}" for n in range(10))]
    for odd in ("0", "-1", "x", "99999999999", "1e3", "\u0663"):
        assert accounts_model([status(many)], Known(), {"page": odd}).page in (1, 20)


async def test_the_filter_shows_what_needs_someone(status):
    bad, good = credential("b", "needs login", note="why"), credential("a")
    model = accounts_model([status(provider(bad, good))], Known(), {"only": "act"})

    assert [row.label for row in rows(model)] == ["b"]
    assert len(rows(accounts_model([status(provider(bad, good))], Known(), {"only": "nonsense"}))) == 2


async def test_accounts_that_are_not_lent_are_listed_with_the_reason(status):
    base = {"provider": "demo", "kind": "api_key", "place": "file", "in_vault": True}
    disabled = Unlent(id="x", name="off", state="disabled", why="", **base)
    damaged = Unlent(id="-", name="broken", state="damaged", why="is no JSON", **base)
    there = Unlent(id="id-a", name="a", state="ok", why="", **base)
    known = Known(credentials=[disabled, damaged, there], by_id={("demo", "id-a"): there})
    found = rows(accounts_model([status(provider(credential()))], known, {}))

    assert [(row.label, row.tone, row.words) for row in found] == [
        ("a", "good", "usable"),
        ("off", "calm", "disabled"),
        ("broken", "bad", "damaged"),
    ]
    assert (found[0].in_vault, found[1].disabled) == (True, True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "now"),
        (30, "in less than a minute"),
        (90, "in 1 min"),
        (3600, "in 1 h"),
        (5400, "in 1 h 30 min"),
        (180000, "in 2 d 2 h"),
    ],
)
def test_times_until_something_are_told_to_the_minute(seconds, words):
    assert until(NOW + timedelta(seconds=seconds), NOW) == words


# --- The page ----------------------------------------------------------------------------


async def test_texts_of_upstreams_and_settings_are_shown_harmlessly(browsing, upstream):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "60"}, json_body={"error": {"message": HOSTILE}})
    provider = {"base_url": upstream.url, "api_keys": [{"key": "key-a", "label": "<b>name</b>"}]}
    proxy, browser = await browsing(providers={"demo": provider})
    await proxy.chat("demo/<i>small</i>", "hi")
    text = await browser.page("accounts")
    inside = text[text.index("<main") :]

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in inside
    assert "&lt;b&gt;name&lt;/b&gt;" in inside
    assert "{{ 7 * 7 }}" in inside
    assert not re.search(r"<script|<img|<b>|<i>|onerror=alert\(2\)>(?!&)|\x1b|\x00|\u202e", inside)


async def test_a_revoked_key_needs_someone(browsing, upstream):
    upstream.for_key("key-a").responds(401)
    upstream.for_key("key-b").responds(429, headers={"retry-after": "60"})
    proxy, browser = await browsing()
    await proxy.chat("demo/small", "hi")
    text = plain(await browser.page("accounts"))

    assert "0 of 2 usable now 1 cannot be used now providers.demo.api_keys[1] (demo) until" in text
    assert "1 need you" in text
    assert "rejected by the provider tried again at" in text


async def test_usage_that_outlived_a_restart_is_not_called_unused(status):
    used = credential(quotas=[quota(used=10, limit=10)])
    before, never = rows(accounts_model([status(provider(used, credential("b")))], Known(), {}))

    assert (before.has_used, never.has_used) == (True, False)


async def test_a_page_never_has_a_key(browsing):
    _, browser = await browsing()
    for name in ("accounts", "health", "accounts/add/demo"):
        text = await browser.page(name)
        assert "key-a" not in text
        assert "key-b" not in text


async def test_without_any_account_the_page_says_what_to_do_first(browsing):
    _, browser = await browsing(providers={})

    assert "No account yet" in await browser.page("accounts")


async def test_a_search_that_finds_nothing_says_so_and_repeats_the_words_harmlessly(browsing):
    _, browser = await browsing()
    text = await browser.page("accounts?q=%22%3E%3Cscript%3E&only=act")

    assert "No account matches" in text
    assert 'value="&#34;&gt;&lt;script&gt;"' in text


async def test_the_page_says_what_today_cost_and_how_much_of_it_is_not_known(browsing, upstream):
    prices = {"small": {"input_price": 1000.0, "output_price": 1000.0}}
    provider = {"base_url": upstream.url, "api_keys": ["key-a"], "models": prices}
    proxy, browser = await browsing(providers={"demo": provider})
    assert "$0.00" in await browser.page("accounts")
    await proxy.chat("demo/small", "hi")
    await proxy.chat("demo/other", "hi")
    async with browser.feed("accounts") as following:
        text = ""
        while "today, for 2 requests" not in text:
            _, text = await following()

    assert "$0.0050" in text
    assert "the price of 1 answer is not known" in text


async def test_the_page_says_for_whom_the_rest_of_a_quota_is_kept(browsing, upstream):
    rotation = {"caps": [{"limit": 2}], "reserves": [{"clients": ["te*"], "share": 0.5}]}
    provider = {"base_url": upstream.url, "api_keys": ["key-a"], "rotation": rotation}
    proxy, browser = await browsing(providers={"demo": provider})
    await proxy.chat("demo/small", "hi")
    text = html.unescape(await browser.page("accounts"))

    assert re.search(r"resets in [^<,]+, the rest is kept for te\*\s*</span>", text), text


# --- Actions -----------------------------------------------------------------------------


async def test_a_cooldown_is_cleared(browsing, upstream):
    upstream.for_key("key-a").responds(401)
    proxy, browser = await browsing()
    await proxy.chat("demo/small", "hi")
    assert proxy.cooldown_s("key-a") > 0
    assert "Clear cooldown" in await browser.page("accounts")
    form = {"provider": "demo", "credential": fingerprint("key-a")}
    first, again = [await browser.post("/admin/ui/accounts/clear", form) for _ in range(2)]

    assert first.status_code == 200
    assert re.search(r"[1-9] cooldowns? w(as|ere) cleared", first.text)
    assert "There was no cooldown" in again.text
    assert proxy.cooldown_s("key-a") == 0


@pytest.mark.parametrize("action", ["clear", "disable", "enable", "test", "renew"])
async def test_an_action_on_what_is_not_there_says_so(browsing, action):
    _, browser = await browsing()
    await browser.page("accounts")
    for form in ({"provider": "demo", "credential": "nobody"}, {"provider": HOSTILE, "credential": HOSTILE}, {}):
        response = await browser.post(f"/admin/ui/accounts/{action}", form)
        assert 400 <= response.status_code < 500, response.text
        assert "Not done" in response.text
        assert "<script" not in response.text


async def test_a_key_is_tested_with_its_provider(browsing, upstream):
    _, browser = await browsing()
    await browser.page("accounts")
    upstream.for_path("/models").responds(json_body={"data": [{"id": "small"}]})
    upstream.for_path("/models").responds(401)
    form = {"provider": "demo", "credential": fingerprint("key-a")}
    good = await browser.post("/admin/ui/accounts/test", form)
    bad = await browser.post("/admin/ui/accounts/test", form)

    assert (good.status_code, "accepts it: 1 model" in good.text) == (200, True)
    assert (bad.status_code, "rejected by the provider" in bad.text) == (409, True)
    assert "key-a" not in good.text + bad.text


async def test_a_test_that_succeeds_says_that_the_quota_is_used_up_all_the_same(browsing, upstream):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "7200"})
    upstream.for_path("/models").responds(json_body={"data": [{"id": "small"}]})
    proxy, browser = await browsing()
    await proxy.chat("demo/small", "hi")
    await browser.page("accounts")
    response = await browser.post("/admin/ui/accounts/test", {"provider": "demo", "credential": fingerprint("key-a")})

    assert "accepts it: 1 model" in response.text
    assert re.search(r"says nothing about quotas: the account is used up until [^.]*\d\d:\d\d UTC\.", response.text)


async def test_a_key_is_added_disabled_and_enabled_and_never_shown(browsing, upstream):
    proxy, browser = await browsing()
    assert "Add an API key" in await browser.page("accounts/add/demo")
    added = await browser.post("/admin/ui/accounts/add-key", {"provider": "demo", "key": "key-of-mine", "name": "mine"})
    again = await browser.post("/admin/ui/accounts/add-key", {"provider": "demo", "key": "key-of-mine"})
    assert (added.status_code, "One key was added" in added.text) == (200, True), added.text
    assert (again.status_code, "already exists" in again.text) == (409, True)
    assert len(proxy.proxy.pools["demo"]) == 3

    form = {"provider": "demo", "credential": fingerprint("key-of-mine")}
    await browser.page("accounts")
    off = await browser.post("/admin/ui/accounts/disable", form)
    assert (off.status_code, len(proxy.proxy.pools["demo"])) == (200, 2), off.text
    page = await browser.page("accounts")
    assert ">Enable</button>" in page
    on = await browser.post("/admin/ui/accounts/enable", form)
    assert (on.status_code, len(proxy.proxy.pools["demo"])) == (200, 3)
    for response in (added, again, off, on):
        assert "key-of-mine" not in response.text
    assert "key-of-mine" not in page


async def test_what_the_settings_define_cannot_be_disabled_here_and_the_answer_says_where(browsing):
    _, browser = await browsing()
    await browser.page("accounts")
    response = await browser.post(
        "/admin/ui/accounts/disable", {"provider": "demo", "credential": fingerprint("key-a")}
    )

    assert response.status_code == 409
    assert "change it there" in response.text


async def test_no_key_is_stored_that_would_stop_the_next_start(tmp_path):
    """Its address is in a file that was merely found in the working directory."""
    (tmp_path / "proxy-core.toml").write_text(
        '[providers.demo]\nbase_url = "http://127.0.0.1:9/v1"\napi_keys = ["a"]\n'
    )

    async def nothing(*_, **__):
        raise AssertionError  # nothing is to be reloaded

    read = dict.fromkeys(("status", "statuses", "call", "sign", "read_settings"), nothing)
    settings = load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)
    request = PageRequest(method="POST", path="", query={}, headers={}, body=b"", admin=True, settings=settings, **read)
    asked = Asked(request=request, session=begun(0, secure=False), logins=tmp_path, frame=dict)
    outcome = await operations.add_keys(asked, "demo", "key-of-mine", None)

    assert not outcome.good
    assert "was only found in the working directory" in outcome.words
    assert "nothing was saved" in outcome.words
    assert not operations.opened(asked).vault.all("demo")


@pytest.mark.parametrize("name", ["work laptop", "B\u00fcro", HOSTILE, "../x", ".", "-x", "x" * 101])
async def test_a_name_that_is_none_is_refused_and_the_answer_says_what_one_has(browsing, name):
    proxy, browser = await browsing()
    page = await browser.page("accounts/add/demo")
    response = await browser.post(
        "/admin/ui/accounts/add-key", {"provider": "demo", "key": "key-of-mine", "name": name}
    )

    assert response.status_code == 409
    assert "is not a valid name: use letters (A-Z), digits and _ @ + and, not first, . -" in response.text
    assert "<script" not in response.text
    assert len(proxy.proxy.pools["demo"]) == 2
    assert "letters A-Z, digits and . _ @ + -" in page
    pattern = re.search(r'name="name"[^>]* pattern="([^"]+)"', page)[1]
    assert not re.fullmatch(pattern, name[:60]) or len(name) > 60
    assert re.fullmatch(pattern, "me.2_x+y-z@example.com")


async def test_a_vault_that_cannot_be_written_is_named_in_words(browsing):
    proxy, browser = await browsing()
    await browser.page("accounts")
    vault = proxy.proxy.loaded.vault_dir
    vault.parent.mkdir(parents=True, exist_ok=True)
    vault.write_text("not a folder")
    response = await browser.post("/admin/ui/accounts/add-key", {"provider": "demo", "key": "key-of-mine"})

    assert response.status_code == 409
    assert "Not done" in response.text
    assert str(vault) in response.text
    vault.unlink()


@pytest.mark.parametrize("key", ["", "   ", "two words", "\u00e9", "# a comment"])
async def test_what_is_no_key_is_refused_in_words(browsing, key):
    _, browser = await browsing()
    await browser.page("accounts")
    response = await browser.post("/admin/ui/accounts/add-key", {"provider": "demo", "key": key})

    assert (response.status_code, "nothing was saved" in response.text) == (409, True)
