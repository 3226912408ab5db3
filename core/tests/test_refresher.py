"""What the refresher does beside renewing: asking for quotas, and waiting for what a login still lacks."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    CredentialRefresher,
    FailureDecision,
    LoginRequired,
    QuotaWindow,
    RetryRefresh,
    RotationSettings,
    SetupRequired,
    TokenFile,
    Tokens,
    Unavailable,
    UpstreamRequest,
)
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.rotation.explain import described
from proxy_core.testing import plugin_with

pytestmark = pytest.mark.anyio


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "data" / "credentials")


@pytest.fixture
def stored(vault):
    login = StoredCredential(provider="example", name="one", kind="example_oauth", access_token=SecretStr("at"))
    return vault.add(login)


def plugin(upstream, *, refresher=None, **provider):
    from proxy_core import Provider

    def encode(call, credential):
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        return UpstreamRequest(url=upstream.url + "/chat/completions", headers=headers, content=b"{}")

    async def refresh(credential, exchange):
        raise AssertionError("nothing is to be renewed")

    made = Provider(
        name="example", encode=encode, dialects=["openai_chat"], credential_kind="example_oauth", **provider
    )
    refresher = refresher or CredentialRefresher(kind="example_oauth", refresh=refresh)
    return plugin_with(proxy_providers=[made], proxy_credential_refreshers=[refresher])


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_quota_of_a_login_is_requested_and_reaches_the_pool(make_proxy, upstream, stored):
    asked = []

    async def quota(credential, exchange):
        asked.append(credential.secret.get_secret_value())
        resets_at = datetime.now(UTC) + timedelta(hours=1)
        return [QuotaWindow(limit=100, used=40, resets_at=resets_at, group="small")]

    rotation = RotationSettings(quota_groups={"family": ["small", "large"]})
    proxy = await make_proxy({}, modules=[plugin(upstream, quota=quota, rotation=rotation)])

    await until(lambda: asked)
    group = proxy.proxy.pools["example"].ledger.group("large")
    await until(lambda: group.windows)
    (name,) = group.windows

    assert asked == ["at"]
    assert (group.name, group.used[name], group.windows[name].limit) == ("family", 40, 100)


async def test_a_quota_request_that_fails_is_retried_and_affects_no_request(make_proxy, upstream, stored):
    asked = []

    async def quota(credential, exchange):
        asked.append(1)
        raise ValueError("no figures")

    proxy = await make_proxy({}, modules=[plugin(upstream, quota=quota, quota_every_s=0.01)])
    await until(lambda: len(asked) > 1)

    assert (await proxy.chat("example/m", "hi")).status == 200


async def test_a_login_that_lacks_something_is_not_lent_before_refresh_has_found_it(
    make_proxy, upstream, vault, stored
):
    found = asyncio.Event()

    async def refresh(credential, exchange):
        await found.wait()
        return Tokens(access_token=credential.secret, tier="gold", details={"project": "p-1"})

    def incomplete_reason(credential):
        return None if credential.details.get("project") else "its project is not known yet"

    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh, incomplete_reason=incomplete_reason)
    rotation = RotationSettings(tiers={"gold": 1})
    proxy = await make_proxy(
        {"routing": {"max_wait_s": 5}}, modules=[plugin(upstream, refresher=refresher, rotation=rotation)]
    )

    asking = asyncio.create_task(proxy.chat("example/m", "hi"))
    await asyncio.sleep(0.2)
    assert not upstream.requests
    found.set()

    assert (await asking).status == 200
    assert vault.read(stored).details["project"] == "p-1"
    assert proxy.proxy.pools["example"].credentials[0].priority == 1


async def test_details_in_doubt_are_found_anew_once(make_proxy, upstream, vault):
    seen = []

    async def refresh(credential, exchange):
        seen.append(dict(credential.details))
        return Tokens(access_token=credential.secret, details={"project": "right"})

    def judge(failure):
        error = Unavailable("not this project")
        return FailureDecision(
            fault="credential",
            next="rotate",
            cooldown="credential",
            cooldown_s=60,
            suspect_details=["project"],
            error=error,
        )

    vault.add(
        StoredCredential(
            provider="example",
            name="one",
            kind="example_oauth",
            access_token=SecretStr("at"),
            refresh_token=SecretStr("rt"),
            details={"project": "wrong", "other": "kept"},
        )
    )
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({}, modules=[plugin(upstream, refresher=refresher, classify_failure=judge)])
    upstream.responds(403)
    upstream.responds()
    upstream.responds(403)

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert (await proxy.chat("example/m", "hi")).status == 503
    assert seen == [{"other": "kept"}]
    (stored,) = vault.all("example")
    assert stored.details == {"project": "right", "other": "kept"}


async def test_a_token_that_ends_early_is_not_refreshed_without_pause(make_proxy, upstream, vault):
    renewals = []

    async def refresh(credential, exchange):
        renewals.append(1)
        ends = datetime.now(UTC) + timedelta(seconds=60)
        return Tokens(access_token=SecretStr(f"at-{len(renewals)}"), expires_at=ends)

    vault.add(
        StoredCredential(
            provider="example",
            name="one",
            kind="example_oauth",
            access_token=SecretStr("at"),
            refresh_token=SecretStr("rt"),
            expires_at=datetime.now(UTC),
        )
    )
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh, refresh_margin_s=300)
    await make_proxy({}, modules=[plugin(upstream, refresher=refresher)])
    await until(lambda: renewals)
    await asyncio.sleep(0.5)

    assert len(renewals) == 1


# --- Reloads -----------------------------------------------------------------------------


def expired(**fields):
    secrets = {"access_token": SecretStr("at"), "refresh_token": SecretStr("rt")}
    return StoredCredential(
        provider="example", name="one", kind="example_oauth", expires_at=datetime.now(UTC), **secrets, **fields
    )


async def test_a_reload_neither_ends_nor_repeats_a_running_refresh(make_proxy, upstream, vault):
    begun, go_on, under_way = [], asyncio.Event(), 0

    async def refresh(credential, exchange):
        nonlocal under_way
        under_way += 1
        begun.append(under_way)
        await go_on.wait()
        under_way -= 1
        return Tokens(access_token=SecretStr("new"), expires_at=datetime.now(UTC) + timedelta(hours=1))

    stored = vault.add(expired())
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    settings = {"routing": {"max_wait_s": 5}}
    proxy = await make_proxy(settings, modules=[plugin(upstream, refresher=refresher)])
    await until(lambda: begun)

    await proxy.reload(timeouts={"idle_s": 50})
    vault.set_disabled(stored, True)
    await proxy.reload(timeouts={"idle_s": 60})
    gone = proxy.proxy.pools["example"].credentials
    vault.set_disabled(stored, False)
    await proxy.reload(timeouts={"idle_s": 70})
    asking = asyncio.create_task(proxy.chat("example/m", "hi"))
    await asyncio.sleep(0.1)
    assert not upstream.requests
    go_on.set()

    assert (await asking).status == 200
    assert (begun, gone) == ([1], [])
    assert proxy.proxy.pools["example"].credentials[0].secret.get_secret_value() == "new"
    await until(lambda: len(proxy.active) == 1)


async def test_a_reload_does_not_make_a_refresh_happen_earlier(make_proxy, upstream, vault):
    asked = []

    async def refresh(credential, exchange):
        asked.append(1)
        raise RetryRefresh("not now", retry_after_s=60)

    vault.add(expired())
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({}, modules=[plugin(upstream, refresher=refresher)])
    await until(lambda: asked)
    for n in range(3):
        await proxy.reload(timeouts={"idle_s": 50 + n})
    await asyncio.sleep(0.2)

    assert len(asked) == 1


async def test_a_refresh_counts_although_the_other_program_puts_its_old_token_back_at_once(
    make_proxy, upstream, vault, tmp_path
):
    def read(data):
        ends = datetime.fromtimestamp(float(data), UTC)
        return Tokens(access_token=SecretStr("at"), refresh_token=SecretStr("rt"), expires_at=ends)

    async def refresh(credential, exchange):
        await exchange(UpstreamRequest(url=upstream.url + "/token", headers=[], content=b"refresh_token=rt"))
        ends = datetime.now(UTC) + timedelta(hours=1)
        return Tokens(access_token=SecretStr("new"), expires_at=ends, details={"project": "p-1"})

    def incomplete_reason(credential):
        return None if credential.details.get("project") else "its project is not known yet"

    file, in_an_hour = tmp_path / "theirs", datetime.now(UTC).timestamp() + 3600
    form = TokenFile(name="theirs", read=read, write=lambda old, credential: str(in_an_hour).encode())
    file.write_text("1")
    vault.import_link("example", "example_oauth", file, form, name="one")
    refresher = CredentialRefresher(
        kind="example_oauth", refresh=refresh, files=[form], incomplete_reason=incomplete_reason
    )
    proxy = await make_proxy({}, modules=[plugin(upstream, refresher=refresher)])
    await until(lambda: upstream.requests)
    for number in range(3):
        await asyncio.sleep(0.2)
        file.write_text(str(2 + number))
        await proxy.reload(timeouts={"idle_s": 50 + number})

    assert len(upstream.requests) == 1


async def test_a_login_added_while_the_proxy_runs_is_kept_alive_after_a_reload(make_proxy, upstream, vault):
    async def refresh(credential, exchange):
        return Tokens(access_token=SecretStr("new"), expires_at=datetime.now(UTC) + timedelta(hours=1))

    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[plugin(upstream, refresher=refresher)])
    assert (await proxy.chat("example/m", "hi")).status == 503

    stored = vault.add(expired())
    await proxy.reload()

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert vault.read(stored).access_token.get_secret_value() == "new"


async def test_why_a_login_is_out_is_the_same_after_a_reload(make_proxy, upstream, vault):
    async def refresh(credential, exchange):
        raise LoginRequired("the account is closed")

    vault.add(expired())
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({}, modules=[plugin(upstream, refresher=refresher)])
    row = proxy.proxy.pools["example"].ledger.rows[0]
    await until(lambda: row.needs_login)

    await proxy.reload(timeouts={"idle_s": 50})

    assert (row.retired, row.unavailable, row.needs_login) == (False, "the account is closed", True)
    assert "the account is closed" in (await proxy.chat("example/m", "hi")).error["message"]


# --- What a login is called, for life ----------------------------------------------------


async def test_a_login_whose_account_becomes_known_keeps_its_id_and_a_second_login_of_it_is_reported(
    make_proxy, upstream, vault, caplog
):
    async def refresh(credential, exchange):
        ends = datetime.now(UTC) + timedelta(hours=1)
        return Tokens(access_token=SecretStr("new"), expires_at=ends, identity="dev@example.com")

    vault.add(expired())
    second = replace(expired(identity="dev@example.com"), name="two", expires_at=datetime.now(UTC) + timedelta(hours=1))
    vault.add(second)
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    settings = {"routing": {"max_wait_s": 5}}
    proxy = await make_proxy(settings, modules=[plugin(upstream, refresher=refresher)])
    ids = [credential.id for credential in proxy.proxy.pools["example"].credentials]

    await until(lambda: vault.all("example")[0].identity == "dev@example.com")
    await until(lambda: "are the same account, dev@example.com" in caplog.text)
    again = await make_proxy(settings, modules=[plugin(upstream, refresher=refresher)])

    assert len(set(ids)) == 2
    assert [credential.id for credential in again.proxy.pools["example"].credentials] == ids
    assert {(await proxy.chat("example/m", "hi")).status, (await again.chat("example/m", "hi")).status} == {200}


# --- What the operator has to set up -----------------------------------------------------


async def test_an_expired_token_that_cannot_be_refreshed_is_an_immediate_error_that_says_what_is_missing(
    make_proxy, upstream, vault
):
    ready = []

    async def refresh(credential, exchange):
        if not ready:
            raise SetupRequired("no OAuth client: set EXAMPLE_CLIENT_ID")
        return Tokens(access_token=SecretStr("new"), expires_at=datetime.now(UTC) + timedelta(hours=1))

    vault.add(expired())
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({"routing": {"max_wait_s": 30}}, modules=[plugin(upstream, refresher=refresher)])

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(proxy.chat("example/m", "hi") for _ in range(3)))
    (why,) = described(proxy.proxy.pools["example"], "m", str)["credentials"]
    ready.append(True)
    await proxy.reload(timeouts={"idle_s": 50})

    assert {answer.status for answer in answers} == {503}
    assert all("set EXAMPLE_CLIENT_ID" in answer.error["message"] for answer in answers)
    assert (why["state"], why["why"]) == ("needs setup", "no OAuth client: set EXAMPLE_CLIENT_ID")
    assert (await proxy.chat("example/m", "hi")).status == 200


async def test_a_token_that_is_still_valid_is_used_until_it_expires_although_it_cannot_be_refreshed(
    make_proxy, upstream, vault
):
    async def refresh(credential, exchange):
        raise SetupRequired("no OAuth client")

    vault.add(replace(expired(), expires_at=datetime.now(UTC) + timedelta(seconds=1.5)))
    refresher = CredentialRefresher(kind="example_oauth", refresh=refresh)
    proxy = await make_proxy({"routing": {"max_wait_s": 30}}, modules=[plugin(upstream, refresher=refresher)])
    row = proxy.proxy.pools["example"].ledger.rows[0]

    await until(lambda: row.note)
    assert (await proxy.chat("example/m", "hi")).status == 200
    assert "no OAuth client" in described(proxy.proxy.pools["example"], "m", str)["credentials"][0]["why"]
    async with asyncio.timeout(5):
        while (answer := await proxy.chat("example/m", "hi")).status == 200:
            await asyncio.sleep(0.05)

    assert (answer.status, "no OAuth client" in answer.error["message"]) == (503, True)


async def test_a_token_that_is_refused_right_after_its_project_was_looked_up_is_refreshed(make_proxy, upstream, vault):
    async def refresh(credential, exchange):
        if not credential.details.get("project"):
            return Tokens(access_token=credential.secret, expires_at=credential.expires_at, details={"project": "p"})
        return Tokens(access_token=SecretStr("new"), expires_at=datetime.now(UTC) + timedelta(hours=1))

    vault.add(replace(expired(), expires_at=datetime.now(UTC) + timedelta(hours=1)))
    refresher = CredentialRefresher(
        kind="example_oauth",
        refresh=refresh,
        incomplete_reason=lambda credential: None if credential.details.get("project") else "no project",
    )
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, modules=[plugin(upstream, refresher=refresher)])
    upstream.responds(401)
    upstream.responds()

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert upstream.keys_seen == ["at", "new"]
