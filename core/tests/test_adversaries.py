"""A refresher plugin that raises anything from anything, or returns anything: every other login stays refreshed."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    CredentialRefresher,
    LoginRequired,
    Provider,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    TokenFile,
    Tokens,
    UpstreamRequest,
)
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.testing import plugin_with

pytestmark = pytest.mark.anyio


class AheadClock(SystemClock):
    """The real clock, some time ahead."""

    ahead_s = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead_s

    def now(self):
        return super().now() + timedelta(seconds=self.ahead_s)


PARTS = ("read", "write", "lock", "owner")


class Own(BaseException):
    """Derived from ``BaseException``, which nothing catches by accident."""


async def cancels_its_task(credential, exchange):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


def raises(error):
    async def refresh(credential, exchange):
        raise error

    return refresh


def returns(**fields):
    """``ends_in_s`` counts from the refresh."""

    async def refresh(credential, exchange):
        ends_in_s = fields.get("ends_in_s")
        moments = {} if ends_in_s is None else {"expires_at": in_s(ends_in_s)}
        given = {name: value for name, value in fields.items() if name != "ends_in_s"}
        return replace(Tokens(access_token=SecretStr("at-bad")), **moments, **given)

    return refresh


async def returns_nothing(credential, exchange):
    return None


def in_s(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def naive(seconds):
    return in_s(seconds).replace(tzinfo=None)


def raising(error):
    def call(*args):
        raise error

    return call


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """``calls``: how often its refresh may be called within a moment. ``says``: what the log has to say of it."""

    refresh: Callable = returns(ends_in_s=4e6)
    calls: int = 1
    says: str = ""
    more: dict = None
    quota: Callable = None


ADVERSARIES = {
    "an error": Adversary(refresh=raises(ValueError("no")), says="ValueError"),
    "an error without words": Adversary(refresh=raises(Exception()), says="Exception"),
    "a group of errors": Adversary(refresh=raises(ExceptionGroup("g", [ValueError()])), says="ExceptionGroup"),
    "CancelledError": Adversary(refresh=raises(asyncio.CancelledError()), says="CancelledError"),
    "the end of its own task": Adversary(refresh=cancels_its_task, says="CancelledError"),
    "SystemExit": Adversary(refresh=raises(SystemExit(3)), says="SystemExit"),
    "KeyboardInterrupt": Adversary(refresh=raises(KeyboardInterrupt()), says="KeyboardInterrupt"),
    "GeneratorExit": Adversary(refresh=raises(GeneratorExit()), says="GeneratorExit"),
    "a BaseException of its own": Adversary(refresh=raises(Own()), says="Own"),
    "TimeoutError": Adversary(refresh=raises(TimeoutError()), says="TimeoutError"),
    "StopAsyncIteration": Adversary(refresh=raises(StopAsyncIteration()), says="StopAsyncIteration"),
    "a login that has ended": Adversary(refresh=raises(LoginRequired("gone")), says="gone"),
    "something to set up": Adversary(refresh=raises(SetupRequired("no client")), says="no client"),
    "retry at once, for ever": Adversary(refresh=raises(RetryRefresh("z0", retry_after_s=0)), calls=3, says="z0"),
    "a wait in the past": Adversary(refresh=raises(RetryRefresh("z1", retry_after_s=-9)), calls=3, says="z1"),
    "a wait without end": Adversary(refresh=raises(RetryRefresh("z2", retry_after_s=1e300)), says="z2"),
    "a wait that is no number": Adversary(refresh=raises(RetryRefresh("z3", retry_after_s=float("nan"))), says="z3"),
    "a wait in words": Adversary(refresh=raises(RetryRefresh("z4", retry_after_s="soon")), says="TypeError"),
    "a back-off of nonsense": Adversary(refresh=raises(RetryRefresh("z5", back_off_s=["a"])), says="TypeError"),
    "nothing": Adversary(refresh=returns_nothing, says="TypeError"),
    "a naive expiry": Adversary(refresh=returns(expires_at=naive(4e6)), says="without a time zone"),
    "a naive expiry in the past": Adversary(refresh=returns(expires_at=naive(-4e6)), says="said to last"),
    "no expiry": Adversary(refresh=returns(expires_at=None)),
    "an expiry right now": Adversary(refresh=returns(ends_in_s=0), says="said to last"),
    "an expiry in half a second": Adversary(refresh=returns(ends_in_s=0.5), says="said to last"),
    "an expiry at the end of time": Adversary(refresh=returns(expires_at=datetime.max.replace(tzinfo=UTC))),
    "an expiry of another type": Adversary(refresh=returns(expires_at=4e9), says="expires_at has to be a datetime"),
    "a lifetime below the margin": Adversary(refresh=returns(ends_in_s=15), says="due for a refresh at once"),
    "another account": Adversary(refresh=returns(ends_in_s=4e6, identity="good@example.com")),
    "something unfinished that is no text": Adversary(refresh=returns(unfinished=5), says="unfinished has to be text"),
    "no token": Adversary(refresh=returns(access_token=SecretStr("")), says="access_token is empty"),
    "a token as plain text": Adversary(refresh=returns(access_token="at"), says="has to be a SecretStr"),
    "a token that no header holds": Adversary(
        refresh=returns(access_token=SecretStr("a\nb")), says="no header can hold"
    ),
    "an account that cannot be saved": Adversary(refresh=returns(identity="\udc80"), says="UnicodeEncodeError"),
    "details of another type": Adversary(refresh=returns(details={"a": 1}), says="has to be text"),
    "a reason that raises": Adversary(
        more={"incomplete_reason": raising(RuntimeError("r"))}, calls=9, says="RuntimeError"
    ),
    "a reason that exits": Adversary(more={"incomplete_reason": raising(SystemExit(1))}, calls=9, says="SystemExit"),
    "a reason that never ends": Adversary(
        more={"incomplete_reason": lambda credential: "never"}, calls=9, says="never"
    ),
    "a margin that is no number": Adversary(more={"refresh_margin_s": None}, calls=0, says="TypeError"),
    "a quota that raises": Adversary(quota=raises(Own()), says="is not known"),
    "a quota that is cancelled": Adversary(quota=raises(asyncio.CancelledError()), says="is not known"),
    "a quota of nonsense": Adversary(quota=returns_nothing, says="is not known"),
}


def provider(name, upstream, **more):
    def encode(call, credential):
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        return UpstreamRequest(url=upstream.url + "/chat/completions", headers=headers, content=b"{}")

    return Provider(name=name, encode=encode, dialects=["openai_chat"], credential_kind=f"{name}_oauth", **more)


def login(vault, provider, **fields):
    stored = StoredCredential(
        provider=provider,
        name="one",
        kind=f"{provider}_oauth",
        access_token=SecretStr(f"old-{provider}"),
        refresh_token=SecretStr(f"rt-{provider}"),
        expires_at=datetime.now(UTC),
    )
    return vault.add(replace(stored, **fields))


class Good:
    """A login that works, and the clock by which its tokens expire."""

    def __init__(self, upstream):
        self.clock, self.renewals, self.provider = AheadClock(), [], provider("good", upstream)

    def refresher(self):
        return CredentialRefresher(kind="good_oauth", refresh=self.refresh)

    async def refresh(self, credential, exchange):
        self.renewals.append(1)
        ends = self.clock.now() + timedelta(hours=1)
        return Tokens(access_token=SecretStr(f"good-{len(self.renewals)}"), expires_at=ends)

    async def is_renewed_again(self, proxy):
        before = len(self.renewals)
        self.clock.ahead_s += 3700
        await proxy.reload(timeouts={"idle_s": 50 + before})
        answer = await proxy.chat("good/m", "hi")
        return answer.status == 200 and len(self.renewals) == before + 1


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "data" / "credentials")


@pytest.fixture
def good(upstream, vault):
    login(vault, "good", identity="good@example.com")
    return Good(upstream)


def silent(caplog):
    """What the log does not say yet of the adversaries."""
    said = {record.name.split(".")[0]: "" for record in caplog.records}
    for record in caplog.records:
        words = caplog.handler.format(record)
        for found in re.findall(r"\b(bad\d+) one", words):
            said[found] = said.get(found, "") + words
    return {
        name: adversary.says
        for number, (name, adversary) in enumerate(ADVERSARIES.items())
        if adversary.says not in said.get(f"bad{number}", "") + said.get("", "")
    }


async def test_whatever_refreshers_raise_or_return_every_other_login_stays_refreshed(
    make_proxy, upstream, vault, good, caplog
):
    calls, providers, refreshers = dict.fromkeys(ADVERSARIES, 0), [good.provider], [good.refresher()]

    def counted(name, adversary):
        async def refresh(credential, exchange):
            calls[name] += 1
            return await adversary.refresh(credential, exchange)

        return refresh

    for number, (name, adversary) in enumerate(ADVERSARIES.items()):
        quota = {"quota": adversary.quota, "quota_every_s": 0.01} if adversary.quota else {}
        providers.append(provider(f"bad{number}", upstream, **quota))
        kind = f"bad{number}_oauth"
        refreshers.append(CredentialRefresher(kind=kind, refresh=counted(name, adversary), **(adversary.more or {})))
        login(vault, f"bad{number}", details={"a": "b"})

    module = plugin_with(proxy_providers=providers, proxy_credential_refreshers=refreshers)
    began = asyncio.get_running_loop().time()
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[module], clock=good.clock)
    assert (await proxy.chat("good/m", "hi")).status == 200
    async with asyncio.timeout(10):
        while [name for name, adversary in ADVERSARIES.items() if adversary.calls and not calls[name]]:
            await asyncio.sleep(0.01)
    for _ in range(200):
        if not silent(caplog):
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)

    assert silent(caplog) == {}
    paused = int(asyncio.get_running_loop().time() - began)  # each pause takes a second at least
    most = {name: adversary.calls and adversary.calls + paused for name, adversary in ADVERSARIES.items()}
    assert {name: n for name, n in calls.items() if n > most[name]} == {}, "refreshed without pause"
    assert await good.is_renewed_again(proxy)
    assert await good.is_renewed_again(proxy)


async def test_whatever_file_formats_raise_only_their_own_files_are_affected(
    make_proxy, upstream, vault, good, tmp_path
):
    tokens = Tokens(
        access_token=SecretStr("old"), refresh_token=SecretStr("rt"), expires_at=datetime.fromtimestamp(0, UTC)
    )
    parts = [(part, error) for part in PARTS for error in (KeyError("x"), SystemExit(1), Own())]
    providers, refreshers, renewals = [good.provider], [good.refresher()], []

    async def refresh(credential, exchange):
        renewals.append(credential.provider)
        return Tokens(access_token=SecretStr("new"), expires_at=good.clock.now() + timedelta(hours=9))

    for number, (part, error) in enumerate(parts):
        name, file = f"bad{number}", tmp_path / f"{number}.json"
        file.write_text("{}")
        form = TokenFile(name=name, read=lambda data: tokens, write=lambda old, credential: b"{}")
        vault.import_link(name, f"{name}_oauth", file, form, name="one")
        providers.append(provider(name, upstream))
        files = [replace(form, **{part: raising(error)})]
        refreshers.append(CredentialRefresher(kind=f"{name}_oauth", refresh=refresh, files=files))

    module = plugin_with(proxy_providers=providers, proxy_credential_refreshers=refreshers)
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[module], clock=good.clock)

    assert (await proxy.chat("good/m", "hi")).status == 200
    await asyncio.sleep(0.3)
    assert all(renewals.count(name) <= 1 for name in renewals)
    assert await good.is_renewed_again(proxy)


async def test_a_refresh_that_hangs_holds_up_no_other(make_proxy, upstream, vault, good):
    let_go = asyncio.Event()

    async def refresh(credential, exchange):
        await let_go.wait()
        return Tokens(access_token=SecretStr("new"))

    login(vault, "bad")
    module = plugin_with(
        proxy_providers=[provider("bad", upstream), good.provider],
        proxy_credential_refreshers=[CredentialRefresher(kind="bad_oauth", refresh=refresh), good.refresher()],
    )
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[module], clock=good.clock)

    assert (await proxy.chat("good/m", "hi")).status == 200
    assert await good.is_renewed_again(proxy)
    let_go.set()


async def test_a_refresher_that_was_cancelled_by_mistake_is_asked_again(make_proxy, upstream, vault):
    begun = []
    login(vault, "bad")

    async def refresh(credential, exchange):
        begun.append(1)
        if len(begun) == 1:
            raise asyncio.CancelledError
        return Tokens(access_token=SecretStr("new"), expires_at=in_s(3600))

    module = plugin_with(
        proxy_providers=[provider("bad", upstream)],
        proxy_credential_refreshers=[CredentialRefresher(kind="bad_oauth", refresh=refresh)],
    )
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[module])

    assert (await proxy.chat("bad/m", "hi")).status == 200
    assert len(begun) == 2


class SteppedClock(SystemClock):
    """The real clock, whose time of day is set while it runs."""

    step_s = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.step_s)


@pytest.mark.parametrize("step_s", [-86_400, 86_400])
async def test_a_clock_that_is_set_costs_no_login(make_proxy, upstream, vault, step_s):
    clock, renewals = SteppedClock(), []
    stored = login(vault, "good", expires_at=clock.now() + timedelta(hours=1))

    async def refresh(credential, exchange):
        renewals.append(1)
        return Tokens(access_token=SecretStr(f"new-{len(renewals)}"), expires_at=clock.now() + timedelta(hours=1))

    refresher = CredentialRefresher(kind="good_oauth", refresh=refresh)
    module = plugin_with(proxy_providers=[provider("good", upstream)], proxy_credential_refreshers=[refresher])
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[module], clock=clock)
    assert (await proxy.chat("good/m", "hi")).status == 200

    clock.step_s = step_s
    # A new login is stored, or the token is refreshed, by the clock as it is now.
    vault.login(stored, Tokens(access_token=SecretStr("again"), expires_at=clock.now() + timedelta(hours=1)))
    await proxy.reload(timeouts={"idle_s": 50})

    assert (await proxy.chat("good/m", "hi")).status == 200
    assert len(renewals) <= 1
