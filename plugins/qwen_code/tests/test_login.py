"""Login, refresh, and other programs' files (qwen-code.md 1 to 3)."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from proxy_core import Credential, LoginFailed, LoginRequired, RetryRefresh, token_expiry
from proxy_core.testing import ScriptedPrompt, open_exchange
from proxy_core.testing.oauth import CLIENT_ID, form
from proxy_plugin_qwen_code.files import PROXY_FILE, QWEN_FILE
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED
from proxy_plugin_qwen_code.login import SCOPE, qwen_refresher
from proxy_plugin_qwen_code.settings import QwenCodeSettings
from proxy_plugin_qwen_code.testing import DEVICE_PATH, TOKEN_PATH


class Naps:
    """Sleeps that take no time; ``then`` is called at each."""

    def __init__(self):
        self.slept = []
        self.then = lambda: None

    async def __call__(self, seconds):
        self.slept.append(seconds)
        self.then()
        await asyncio.sleep(0)


@pytest.fixture
def naps():
    return Naps()


@pytest.fixture
async def exchange():
    async with open_exchange() as door:
        yield door


@pytest.fixture
def refresher(qwen, naps):
    return qwen_refresher(QwenCodeSettings(**qwen.settings), sleep=naps)


def credential(tokens, **details):
    return Credential(
        id="l",
        provider="qwen_code",
        kind="qwen_oauth",
        secret=tokens.access_token,
        label="",
        refresh_token=tokens.refresh_token,
        details={**tokens.details, **details},
    )


def polls(qwen):
    return [r for r in qwen.requests if r.path == TOKEN_PATH]


def on_first_nap(naps, act):
    """Do this during the first wait."""

    def then():
        naps.then = lambda: None
        act()

    naps.then = then


def approve(qwen):
    (device,) = qwen._devices.values()
    device.state = "approved"


# --- Device login ------------------------------------------------------------------------


async def test_a_login_shows_a_code_and_waits_until_it_was_typed_in(qwen, refresher, exchange, naps):
    prompt = ScriptedPrompt("me@example.com")
    on_first_nap(naps, lambda: approve(qwen))

    tokens = await refresher.login(prompt, exchange)

    assert prompt.links == [f"{qwen.base}/device?user_code={prompt.codes[0]}"]
    assert tokens.identity == "me@example.com"
    assert tokens.refresh_token is not None
    assert tokens.details["resource_url"] == qwen.base
    asked = dict(form(qwen.requests[0]))
    assert (asked["client_id"], asked["scope"], asked["code_challenge_method"]) == (CLIENT_ID, SCOPE, "S256")
    assert len(qwen.requests[0].headers["x-request-id"]) == 36
    assert 43 <= len(dict(form(polls(qwen)[0]))["code_verifier"]) <= 128


async def test_a_login_polls_while_it_waits_and_slows_down_on_request(qwen, refresher, exchange, naps):
    steps = iter([lambda: None, qwen.slow_down, lambda: None, lambda: approve(qwen)])
    naps.then = lambda: next(steps, lambda: None)()

    await refresher.login(ScriptedPrompt(""), exchange)

    assert len(polls(qwen)) == 4
    assert naps.slept[2] > naps.slept[1]


async def test_pending_with_status_200_means_waiting(qwen, refresher, exchange, naps):
    qwen.fails(200, b'{"status":"pending","slowDown":true}', path="/token")
    on_first_nap(naps, lambda: approve(qwen))

    assert (await refresher.login(ScriptedPrompt(""), exchange)).identity is None
    assert naps.slept[1] > naps.slept[0]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda qwen: next(iter(qwen._devices.values())).__setattr__("state", "denied"), "denied on the other device"),
        (lambda qwen: qwen.expire_devices(), "expired"),
        (lambda qwen: qwen.fails(401, b"{}"), "expired"),
        (lambda qwen: qwen.fails(429, b'{"error":"too_many_requests"}'), "is rate limiting"),
    ],
)
async def test_a_failed_login_says_why(qwen, refresher, exchange, naps, act, why):
    on_first_nap(naps, lambda: act(qwen))

    with pytest.raises(LoginFailed, match=why):
        await refresher.login(ScriptedPrompt(""), exchange)


async def test_a_firewall_page_or_failure_while_polling_does_not_end_the_login(qwen, refresher, exchange, naps):
    qwen.page()
    qwen.fails(500, b"{}")
    qwen.resets()
    on_first_nap(naps, lambda: approve(qwen))

    assert (await refresher.login(ScriptedPrompt(""), exchange)).refresh_token is not None


async def test_a_login_waits_while_the_firewall_answers_instead_of_the_code_endpoint(qwen, refresher, exchange, naps):
    qwen.page(path=DEVICE_PATH, times=2)
    naps.then = lambda: approve(qwen) if qwen._devices else None

    await refresher.login(ScriptedPrompt(""), exchange)

    assert naps.slept[:2] == [5, 15]


async def test_a_login_that_the_firewall_keeps_blocking_says_so(qwen, refresher, exchange):
    qwen.page(path=DEVICE_PATH, times=4)

    with pytest.raises(LoginFailed, match="firewall"):
        await refresher.login(ScriptedPrompt(""), exchange)


async def test_an_error_with_status_200_gives_no_code(qwen, refresher, exchange):
    qwen.fails(200, b'{"error":"invalid_client"}', path="/device/code")

    with pytest.raises(LoginFailed, match="invalid_client"):
        await refresher.login(ScriptedPrompt(""), exchange)


async def test_without_a_client_a_login_says_where_one_comes_from(qwen, exchange, monkeypatch):
    monkeypatch.setenv("PATH", "")
    settings = {name: value for name, value in qwen.settings.items() if name != "client_id"}

    with pytest.raises(LoginFailed, match="client_id"):
        await qwen_refresher(QwenCodeSettings(**settings)).login(ScriptedPrompt(""), exchange)


async def test_the_wait_can_be_given_up(qwen, exchange):
    waiting = asyncio.ensure_future(
        qwen_refresher(QwenCodeSettings(**qwen.settings)).login(prompt := ScriptedPrompt(""), exchange)
    )
    await prompt.shown()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_login_first_says_that_the_vendor_ended_the_offer(refresher):
    assert DISCONTINUED in refresher.notice


# --- Renewing ----------------------------------------------------------------------------


async def test_tokens_rotate(qwen, refresher, exchange):
    first = qwen.issue()

    second = await refresher.refresh(credential(first), exchange)

    assert second.refresh_token != first.refresh_token
    assert second.details["resource_url"] == qwen.base
    assert 3500 < (second.expires_at - datetime.now(UTC)).total_seconds() <= 3600
    assert qwen.accepted == [first.refresh_token.get_secret_value()]
    with pytest.raises(LoginRequired, match="proxy-core login qwen_code"):
        await refresher.refresh(credential(first), exchange)


async def test_what_an_answer_leaves_out_stays(qwen, refresher, exchange):
    qwen.fails(200, b'{"access_token":"a","refresh_token":null,"resource_url":null,"expires_in":9}')

    tokens = await refresher.refresh(credential(qwen.issue()), exchange)

    assert (tokens.refresh_token, "resource_url" in tokens.details) == (None, False)


GRANT, ODD = b'{"error":"invalid_grant"}', b'{"error":"busy","error_description":"try later"}'
FAILURES = {
    "400": (400, GRANT, 1, LoginRequired, None),
    "401": (401, b"{}", 1, LoginRequired, None),
    "400 for no clear reason, twice": (400, ODD, 2, LoginRequired, None),
    "403": (403, b"{}", 1, LoginRequired, None),
    "429": (429, b"{}", 1, RetryRefresh, 60),
    "500": (500, b"{}", 1, RetryRefresh, None),
    "no JSON": (200, b"what", 1, RetryRefresh, None),
    "an error with status 200": (200, ODD, 1, RetryRefresh, None),
    "a dead token with status 200": (200, GRANT, 1, LoginRequired, None),
}


@pytest.mark.parametrize(("status", "body", "asked", "error", "after"), FAILURES.values(), ids=FAILURES)
async def test_a_refusal_means_what_the_table_says(qwen, refresher, exchange, status, body, asked, error, after):
    qwen.fails(status, body, times=asked)

    with pytest.raises(error) as raised:
        await refresher.refresh(credential(qwen.issue()), exchange)

    assert len(polls(qwen)) == asked
    assert getattr(raised.value, "retry_after_s", None) == after


async def test_retry_after_is_followed_and_an_unreachable_server_is_retried_later(qwen, refresher, exchange):
    qwen.fails(429, b"{}", headers={"retry-after": "7"})
    qwen.resets()

    with pytest.raises(RetryRefresh) as limited:
        await refresher.refresh(credential(qwen.issue()), exchange)
    with pytest.raises(RetryRefresh, match="did not respond") as away:
        await refresher.refresh(credential(qwen.issue()), exchange)

    assert (limited.value.retry_after_s, away.value.retry_after_s) == (7, None)


async def test_an_unclear_400_is_retried_once(qwen, refresher, exchange):
    qwen.fails(400, ODD)

    assert (await refresher.refresh(credential(qwen.issue()), exchange)).refresh_token is not None


@pytest.mark.parametrize("status", [200, 403, 405])
async def test_a_firewall_page_says_nothing_about_the_token(qwen, refresher, exchange, status):
    qwen.page(status=status)

    with pytest.raises(RetryRefresh, match="firewall") as raised:
        await refresher.refresh(credential(qwen.issue()), exchange)

    assert raised.value.back_off_s == (5, 15, 45, 60, 120, 240, 300)


async def test_a_credential_may_name_its_own_client_and_server(qwen, exchange, monkeypatch):
    monkeypatch.setenv("PATH", "")
    own = credential(qwen.issue(), client_id=SecretStr(CLIENT_ID), token_uri=f"{qwen.base}{TOKEN_PATH}")

    assert (await qwen_refresher(QwenCodeSettings()).refresh(own, exchange)).refresh_token is not None


async def test_a_login_can_be_tested(qwen, refresher, exchange):
    tokens = qwen.issue()

    assert await refresher.test(credential(tokens), exchange) == qwen.url
    qwen.revoke_all()
    with pytest.raises(LoginRequired, match="discontinued"):
        await refresher.test(credential(tokens), exchange)


# --- Files -------------------------------------------------------------------------------

FILE = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expiry_date": 1_800_000_000_000, "x": 1}


def test_the_vendors_file_is_read_and_written_so_that_it_reads_it():
    tokens = QWEN_FILE.read(json.dumps({**FILE, "resource_url": "portal.qwen.ai"}).encode())
    new = QWEN_FILE.write(json.dumps(FILE).encode(), credential(tokens))

    assert (tokens.access_token.get_secret_value(), tokens.refresh_token.get_secret_value()) == ("a", "r")
    assert tokens.expires_at == datetime.fromtimestamp(1_800_000_000, UTC)
    assert json.loads(new) == {**FILE, "expiry_date": 0, "resource_url": "portal.qwen.ai"}


@pytest.mark.parametrize(
    "url",
    ["a\nb", "javascript:x", "http://portal.qwen.ai", "https://u:p@h", "../..", "ftp://h", "http://[::1", "h?a", "h#a"],
)
def test_a_file_cannot_send_its_token_just_anywhere(url):
    with pytest.raises(ValueError, match="resource_url"):
        QWEN_FILE.read(json.dumps({**FILE, "resource_url": url}).encode())


@pytest.mark.parametrize("value", [None, 0, "soon"])
def test_a_file_without_an_expiry_time_counts_as_expired(value):
    assert QWEN_FILE.read(json.dumps({**FILE, "expiry_date": value}).encode()).expires_at < datetime.now(UTC)


@pytest.mark.parametrize("value", [1_800_000_000, "1800000000000", 1_800_000_000_000])
def test_ends_come_in_seconds_and_as_text(value):
    read = QWEN_FILE.read(json.dumps({**FILE, "expiry_date": value}).encode())

    assert read.expires_at == token_expiry(1_800_000_000)


@pytest.mark.parametrize(
    "data",
    [
        *(b"{}", b"[]", b"", b'{"access_token":"a"}'),
        *(json.dumps({**FILE, name: {}}).encode() for name in ("_proxy_metadata", "expired", "last_refresh", "email")),
        json.dumps({**FILE, "access_token": "ya29.a"}).encode(),
        json.dumps({**FILE, "refresh_token": "1//r"}).encode(),
        json.dumps({**FILE, "scope": "https://www.googleapis.com/auth/cloud-platform"}).encode(),
    ],
    ids=range(11),
)
def test_a_file_of_another_kind_is_refused(data):
    with pytest.raises(ValueError):
        QWEN_FILE.read(data)


def test_other_proxies_files_are_read():
    cli = {"type": "qwen", "access_token": "a", "refresh_token": "r", "email": "e", "expired": "2027-01-15T08:00:00Z"}
    mirrowel = {**FILE, "_proxy_metadata": {"email": "e"}}

    assert [PROXY_FILE.read(json.dumps(f).encode()).identity for f in (cli, mirrowel)] == ["e", "e"]
    assert PROXY_FILE.read(json.dumps(cli).encode()).expires_at == token_expiry(1_800_000_000)
    with pytest.raises(ValueError, match="gemini"):
        PROXY_FILE.read(json.dumps({**cli, "type": "gemini"}).encode())
