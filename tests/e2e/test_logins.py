"""Logins in a running proxy: renewed in time, renewed when refused, waited for, and taken out when they have ended."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.credentials.refresher import RENEW_AGAIN_S
from proxy_core.credentials.stored import StoredCredential
from proxy_core.credentials.vault import Vault
from proxy_core.rotation.cooldown import step
from proxy_core.rotation.explain import described
from proxy_core.testing import FakeOAuthServer, plugin_with
from proxy_core.testing.example_oauth import EXAMPLE_FILE, KIND, example_plugin, example_provider, example_refresher


@pytest.fixture
async def server():
    async with FakeOAuthServer() as running:
        yield running


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "data" / "credentials")


def login(vault, tokens, *, name="one", ends_in_s=3600, **fields):
    """A credential as a login stored it."""
    expires_at = datetime.now(UTC) + timedelta(seconds=ends_in_s)
    stored = StoredCredential(
        provider="example",
        name=name,
        kind=KIND,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_at=expires_at,
        identity=tokens.identity,
        **fields,
    )
    return vault.add(stored)


@pytest.fixture
def start(make_proxy, server):
    async def make(**settings):
        return await make_proxy({"routing": {"max_wait_s": 5}, **settings}, modules=[example_plugin(server)])

    return make


def bearer_of(server):
    return [r.key for r in server.requests if r.path.endswith("/chat/completions")]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_login_serves_requests(start, server, vault):
    tokens = server.issue("a@example.com")
    login(vault, tokens)
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")

    assert answer.status == 200
    assert bearer_of(server) == [tokens.access_token.get_secret_value()]
    assert server.accepted == []


async def returns_nothing(credential, http):
    return None


async def looks_up_nothing(credential, http):
    return {}["access_token"]


@pytest.mark.parametrize(
    ("refresh", "what"), [(looks_up_nothing, "raised KeyError"), (returns_nothing, "returned None, not Tokens")]
)
async def test_a_refresher_that_is_wrong_is_named(make_proxy, server, vault, caplog, refresh, what):
    login(vault, server.issue("a@example.com"), ends_in_s=60)
    refresher = replace(example_refresher(server.base), refresh=refresh)
    plugin = plugin_with(proxy_providers=[example_provider(server.base)], proxy_credential_refreshers=[refresher])
    await make_proxy({}, modules=[plugin])

    await until(lambda: any("cannot be refreshed now" in r.getMessage() for r in caplog.records))

    (line,) = [r for r in caplog.records if r.name == "proxy_core.plugins"]
    assert f"the refresher '{KIND}' of plugin 'tested' {what}" in line.getMessage()
    (later,) = [r.getMessage() for r in caplog.records if "cannot be refreshed now" in r.getMessage()]
    assert f"its plugin failed ({'KeyError in' if 'raised' in what else 'TypeError:'} the refresher" in later
    assert not [r for r in caplog.records if r.name == "proxy_core.credentials" and r.exc_info]


async def test_a_token_near_its_end_is_refreshed_in_the_background(start, server, vault):
    tokens = server.issue("a@example.com")
    login(vault, tokens, ends_in_s=60)
    proxy = await start()

    await until(lambda: server.accepted)
    await until(lambda: vault.all("example")[0].access_token != tokens.access_token)
    # It is on disk before it is lent.
    await until(lambda: proxy.proxy.pools["example"].credentials[0].secret != tokens.access_token)
    await proxy.chat("example/m", "hi")

    assert bearer_of(server) == [vault.all("example")[0].access_token.get_secret_value()]
    assert server.spent_again == []


async def test_a_request_waits_for_a_token_that_has_ended(start, server, vault):
    login(vault, server.issue("a@example.com"), ends_in_s=-10)
    proxy = await start()

    answers = await asyncio.gather(*(proxy.chat("example/m", "hi") for _ in range(8)))

    assert [answer.status for answer in answers] == [200] * 8
    assert len(server.accepted) == 1


async def test_a_refused_token_is_refreshed_once_and_the_request_goes_on(start, server, vault):
    tokens = server.issue("a@example.com")
    login(vault, tokens)
    server.for_key(tokens.access_token.get_secret_value()).responds(401)
    proxy = await start()

    answers = await asyncio.gather(*(proxy.chat("example/m", "hi") for _ in range(5)))

    assert [answer.status for answer in answers] == [200] * 5
    assert len(server.accepted) == 1
    assert proxy.proxy.pools["example"].cooling_down() == {}


async def test_an_account_that_is_refused_with_a_new_token_cools_down(start, server, vault):
    login(vault, server.issue("a@example.com"))
    server.for_path("/chat/completions").responds(401)
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")

    assert answer.status == 403
    assert len(server.accepted) == 1
    assert len(proxy.proxy.pools["example"].cooling_down()) == 1


async def test_an_expired_login_is_disabled_and_says_how_to_log_in(start, server, vault):
    tokens = server.issue("a@example.com")
    login(vault, tokens, ends_in_s=-10)
    server.revoke_all()
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")
    ready = await proxy.get("/../readyz")
    by_stranger = await proxy.client.get(proxy.url.removesuffix("/v1") + "/readyz")

    assert (answer.status, answer.error["code"]) == (403, "upstream_login_required")
    assert "log in" in answer.error["message"].lower() or "login" in answer.error["message"].lower()
    assert "example: a credential needs a new login" in json.dumps(ready.json)
    assert by_stranger.json()["problems"] == [problem.partition(": ")[0] for problem in ready.json["problems"]]
    assert vault.all("example")[0].needs_login is not None


async def test_another_login_answers_while_one_is_refreshed(start, server, vault):
    slow, quick = server.issue("slow@example.com"), server.issue("quick@example.com")
    login(vault, slow, name="slow", ends_in_s=-10)
    login(vault, quick, name="quick")
    server.stalls()
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")

    assert answer.status == 200
    assert bearer_of(server) == [quick.access_token.get_secret_value()]


async def test_a_failing_token_server_is_retried(start, server, vault):
    login(vault, server.issue("a@example.com"), ends_in_s=-10)
    server.fails(429, headers={"retry-after": "1"})
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")

    assert answer.status == 200
    assert len(server.accepted) == 1


async def test_a_failed_refresh_is_retried_soon_and_then_at_increasing_intervals(start, server, vault, caplog):
    login(vault, server.issue("a@example.com"), ends_in_s=-10)
    server.fails(503)
    server.resets()
    proxy = await start()

    answer = await proxy.chat("example/m", "hi")

    assert answer.status == 200
    assert [words for words in ("next try in 1 s", "next try in 2 s", "next try in 4 s") if words in caplog.text] == [
        "next try in 1 s",
        "next try in 2 s",
    ]
    assert [step(RENEW_AGAIN_S, failures) for failures in range(1, 10)] == [1, 2, 4, 30, 60, 120, 240, 300, 300]


async def test_a_login_made_while_the_proxy_runs_elsewhere_is_taken_over_from_its_file(start, server, vault):
    tokens = server.issue("a@example.com")
    stored = login(vault, tokens, ends_in_s=60)
    first, second = await start(), await start()

    await until(lambda: server.accepted)
    await until(lambda: vault.read(stored).access_token != tokens.access_token)
    answers = [await proxy.chat("example/m", "hi") for proxy in (first, second)]

    assert [answer.status for answer in answers] == [200, 200]
    assert len(server.accepted) == 1
    assert server.spent_again == []


async def test_the_environments_form_needs_no_file(make_proxy, server):
    tokens = server.issue("a@example.com")
    environ = {
        "EXAMPLE_1_ACCESS_TOKEN": tokens.access_token.get_secret_value(),
        "EXAMPLE_1_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
        "EXAMPLE_1_EMAIL": "a@example.com",
        "EXAMPLE_1_EXPIRY_DATE": str(time.time() + 3600),
    }
    proxy = await make_proxy({}, environ=environ, modules=[example_plugin(server)])

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert bearer_of(server) == [tokens.access_token.get_secret_value()]


@pytest.mark.parametrize("expiry", [{}, {"EXAMPLE_1_EXPIRY_DATE": "0"}, {"EXAMPLE_1_EXPIRY_DATE": "soon"}])
async def test_a_token_of_unknown_age_from_the_environment_is_refreshed_before_its_first_use(
    make_proxy, server, expiry
):
    tokens = server.issue("a@example.com")
    environ = {
        "EXAMPLE_1_ACCESS_TOKEN": tokens.access_token.get_secret_value(),
        "EXAMPLE_1_REFRESH_TOKEN": tokens.refresh_token.get_secret_value(),
        **expiry,
    }
    proxy = await make_proxy({"routing": {"max_wait_s": 5}}, environ=environ, modules=[example_plugin(server)])

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert server.accepted == [tokens.refresh_token.get_secret_value()]
    assert tokens.access_token.get_secret_value() not in bearer_of(server)


async def test_a_disabled_login_is_not_used(start, server, vault):
    stored = login(vault, server.issue("a@example.com"))
    vault.set_disabled(stored, True)
    proxy = await start()

    assert (await proxy.chat("example/m", "hi")).status == 503
    assert bearer_of(server) == []


async def test_no_token_is_written_to_the_log(start, server, vault, caplog):
    tokens = server.issue("a@example.com")
    login(vault, tokens, ends_in_s=60, details={"client_secret": SecretStr("the-client-secret")})
    await start()
    await until(lambda: server.accepted)

    held = [tokens.access_token, tokens.refresh_token, vault.all("example")[0].access_token]
    assert not any(token.get_secret_value() in caplog.text for token in held)
    assert "the-client-secret" not in caplog.text


# --- A file that another program is writing ----------------------------------------------


@pytest.fixture
def linked(vault, server, tmp_path):
    """A linked file; ``linked.whole()`` is its content with new tokens."""
    path = tmp_path / "creds.json"

    def whole(identity="a@example.com"):
        tokens = server.issue(identity)
        fields = {"access_token": tokens.access_token.get_secret_value(), "email": identity}
        fields["refresh_token"] = tokens.refresh_token.get_secret_value()
        return json.dumps({**fields, "expiry_date": int((time.time() + 3600) * 1000)})

    path.write_text(whole())
    vault.import_link("example", KIND, path, EXAMPLE_FILE)
    return SimpleNamespace(path=path, whole=whole)


def spoil(path, how):
    path.unlink() if how == "absent" else path.write_text(path.read_text()[:40] if how == "half written" else "")


def why(proxy):
    """What ``proxy-core why`` shows of the only credential."""
    (credential,) = described(proxy.proxy.pools["example"], "m", str)["credentials"]
    return credential


@pytest.mark.parametrize("how", ["absent", "truncated", "half written"])
async def test_a_reload_while_a_linked_file_is_being_written_keeps_the_login(start, linked, how):
    proxy = await start()
    before = why(proxy)
    content = linked.path.read_text()
    spoil(linked.path, how)
    await proxy.reload(timeouts={"idle_s": 50})

    assert (await proxy.chat("example/m", "hi")).status == 200
    during = why(proxy)
    assert during["id"] == before["id"]
    assert "until it can be read again, the tokens last read from it are used" in during["why"]

    linked.path.write_text(content)
    async with asyncio.timeout(5):
        while why(proxy)["why"]:
            await asyncio.sleep(0.05)
    assert (await proxy.chat("example/m", "hi")).status == 200


@pytest.mark.parametrize("how", ["absent", "truncated", "half written"])
async def test_a_start_while_a_linked_file_is_being_written_waits_for_it(start, linked, how):
    content = linked.path.read_text()
    spoil(linked.path, how)
    proxy = await start()

    asking = asyncio.create_task(proxy.chat("example/m", "hi"))
    await asyncio.sleep(0.1)
    during = why(proxy)
    linked.path.write_text(content)

    assert (await asking).status == 200
    assert during["state"] == "refreshing"
    assert "it is read again every second" in during["why"]
    assert str(linked.path) not in during["why"]  # clients see it, too


async def test_another_account_in_a_linked_file_keeps_the_credentials_id_and_is_logged(start, linked, server, caplog):
    proxy = await start()
    before = why(proxy)
    assert (await proxy.chat("example/m", "hi")).status == 200

    linked.path.write_text(linked.whole("b@example.com"))
    await until(lambda: "now belongs to b@example.com, no longer to a@example.com" in caplog.text)

    assert (await proxy.chat("example/m", "hi")).status == 200
    assert why(proxy)["id"] == before["id"]
    assert len(set(bearer_of(server))) == 2
