"""Login, refresh, and the lookup of a login's project and tier."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from proxy_core import Credential, LoginFailed, LoginRequired, RetryRefresh, SetupRequired
from proxy_core.testing import ScriptedPrompt
from proxy_core.testing.credentials import from_environment
from proxy_plugin_gemini_cli.code_assist import backend_of
from proxy_plugin_gemini_cli.oauth import NOTICE, GoogleLogin, incomplete_reason
from proxy_plugin_gemini_cli.testing import PROJECT

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(settings):
    """A login's functions, with different settings if a test passes some."""

    def make(**changes):
        changed = settings.model_copy(update=changes)
        return GoogleLogin(changed, backend_of(changed)).refresher()

    return make


def credential(tokens, **fields):
    fields.setdefault("details", {})
    return Credential(
        id="x",
        provider="gemini_cli",
        kind="google_oauth",
        secret=tokens.access_token,
        label="x",
        refresh_token=tokens.refresh_token,
        expires_at=tokens.expires_at,
        identity="dev@example.com",
        **fields,
    )


def ended(tokens, **fields):
    from msgspec.structs import replace

    return replace(credential(tokens, **fields), expires_at=datetime.now(UTC) - timedelta(seconds=5))


# --- Logging in --------------------------------------------------------------------------


async def test_a_login_by_browser(made, google, exchange):
    prompt = ScriptedPrompt(browser=True, headless=False)
    tokens = await made().login(prompt, exchange)

    assert tokens.identity == "dev@example.com"
    assert tokens.tier == "standard-tier"
    assert tokens.details["project_id"] == PROJECT
    assert "access_type=offline" in prompt.links[0]
    assert "redirect_uri=http%3A%2F%2F127.0.0.1" in prompt.links[0]
    assert "cloud-platform" in prompt.links[0]


@pytest.mark.parametrize(("headless", "method"), [(True, None), (False, "paste")])
async def test_a_login_over_ssh_pastes_a_code(made, google, exchange, headless, method):
    assert "paste" in made().login_methods
    prompt = ScriptedPrompt(headless=headless, method=method)
    logging_in = asyncio.create_task(made().login(prompt, exchange))
    link = await prompt.shown()
    import httpx

    async with httpx.AsyncClient() as client:
        back = (await client.get(link)).headers["location"]
    assert back.startswith(f"{google.base}/authcode")
    prompt.pastes.append(back.partition("code=")[2].partition("&")[0])

    assert (await logging_in).details["project_id"] == PROJECT
    assert "code_challenge_method=S256" in link


async def test_a_login_asks_for_the_project_an_account_needs(made, google, exchange):
    google.account(load="new")
    prompt = ScriptedPrompt("mine", browser=True, headless=False)
    # The prompt for a pasted code never blocks the login by browser, which is faster.
    prompt.pastes.clear()
    logging_in = asyncio.create_task(made().login(prompt, exchange))
    while not any("project id" in words for words in prompt.lines):
        await asyncio.sleep(0.01)
    prompt.pastes.append("mine")
    tokens = await logging_in

    assert (tokens.details["project_id"], tokens.details["configured_project"]) == ("mine", "mine")


@pytest.mark.parametrize("load", ["ended", "ineligible", "validation", "tos_violation"])
async def test_a_login_that_google_does_not_serve_fails_with_advice(made, google, exchange, load):
    google.account(load=load)
    with pytest.raises(LoginFailed, match="does not serve this account"):
        await made().login(ScriptedPrompt(browser=True, headless=False), exchange)


async def test_a_login_whose_project_cannot_be_looked_up_now_is_kept(made, google, exchange):
    google.account(load="internal")
    tokens = await made().login(ScriptedPrompt(browser=True, headless=False), exchange)

    assert tokens.refresh_token is not None
    assert incomplete_reason(credential(tokens, details=tokens.details)) is not None


async def test_a_login_without_a_client_says_how_to_get_one(made, exchange):
    with pytest.raises(LoginFailed, match="GEMINI_CLI_CLIENT_ID"):
        await made(client_id=None).login(ScriptedPrompt(), exchange)


async def test_a_refusal_in_the_browser(made, google, exchange):
    google.denies = True
    with pytest.raises(LoginFailed, match="denied"):
        await made().login(ScriptedPrompt(browser=True, headless=False), exchange)


def test_the_notice_is_honest():
    for words in ("undocumented internal API", "suspended", "18 June 2026", "GEMINI_API_KEY", "break at any time"):
        assert words in NOTICE


# --- Renewing ----------------------------------------------------------------------------


async def test_a_refresh_keeps_the_refresh_token_and_finds_the_project(made, google, exchange):
    old = google.issue()
    tokens = await made().refresh(ended(old), exchange)

    assert tokens.access_token != old.access_token
    assert tokens.details["project_id"] == PROJECT
    assert tokens.tier == "standard-tier"
    assert len(google.accepted) == 1


async def test_a_known_project_is_not_looked_up_again_for_hours(made, google, exchange):
    tokens = google.issue()
    details = {"project_id": PROJECT, "looked_up": datetime.now(UTC).isoformat()}
    await made().refresh(ended(tokens, details=details), exchange)
    assert google.called("loadCodeAssist") == []

    details["looked_up"] = (datetime.now(UTC) - timedelta(hours=7)).isoformat()
    await made().refresh(ended(tokens, details=details), exchange)
    assert len(google.called("loadCodeAssist")) == 1


async def test_only_the_project_is_looked_up_while_the_token_is_good(made, google, exchange):
    tokens = google.issue()
    got = await made().refresh(credential(tokens), exchange)

    assert (got.access_token, got.expires_at) == (tokens.access_token, tokens.expires_at)
    assert google.accepted == []


async def test_new_tokens_are_not_lost_where_the_project_cannot_be_found(made, google, exchange):
    google.account(load="ended")
    got = await made().refresh(ended(google.issue()), exchange)

    assert got.access_token.get_secret_value()
    assert "API key" in incomplete_reason(credential(got, details=got.details))


async def test_gclouds_login_is_refreshed_with_its_own_client(made, google, exchange):
    google.clients["gcloud"] = "gcloud-secret"
    tokens = google.issue()
    google.owners[tokens.refresh_token.get_secret_value()] = "gcloud"
    details = {"client_id": "gcloud", "client_secret": SecretStr("gcloud-secret")}

    assert (await made().refresh(ended(tokens, details=details), exchange)).access_token != tokens.access_token
    with pytest.raises(SetupRequired, match="another OAuth client"):
        await made().refresh(ended(tokens), exchange)


async def test_a_credentials_own_token_server(made, google, exchange):
    details = {
        "client_id": "example-client",
        "client_secret": SecretStr("example-secret"),
        "token_uri": google.token_url,
    }
    tokens = await made(token_url="http://127.0.0.1:1/token").refresh(ended(google.issue(), details=details), exchange)

    assert tokens.access_token.get_secret_value()


async def test_a_wrong_oauth_client_does_not_disable_the_login(made, google, exchange):
    with pytest.raises(SetupRequired, match="client id or secret is wrong"):
        await made(client_secret=SecretStr("wrong")).refresh(ended(google.issue()), exchange)


async def test_a_missing_oauth_client_does_not_disable_the_login(made, google, exchange):
    with pytest.raises(SetupRequired, match="GEMINI_CLI_CLIENT_ID"):
        await made(client_id=None).refresh(ended(google.issue()), exchange)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, "log in again"),
        (
            {
                "error": "invalid_grant",
                "error_subtype": "invalid_rapt",
                "error_description": "reauth related error (invalid_rapt)",
            },
            "administrator requires",
        ),
        (
            {"error": "invalid_grant", "error_subtype": "invalid_rapt", "error_description": "Bad Request"},
            "administrator requires",
        ),
    ],
)
async def test_a_login_that_has_ended(made, google, exchange, body, words):
    google.fails(400, json.dumps(body).encode())
    with pytest.raises(LoginRequired, match=words):
        await made().refresh(ended(google.issue()), exchange)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_failing_token_server_is_retried_later(made, google, exchange, status):
    google.fails(status)
    with pytest.raises(RetryRefresh):
        await made().refresh(ended(google.issue()), exchange)


@pytest.mark.parametrize("done", [False, True])
async def test_a_token_server_that_does_not_respond_is_retried_later(made, google, exchange, done):
    google.resets(done=done)
    with pytest.raises(RetryRefresh):
        await made().refresh(ended(google.issue()), exchange)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, "invalid_client", "client id or secret is wrong"),
        (400, "unauthorized_client", "another OAuth client"),
        (401, "unauthorized_client", "another OAuth client"),
    ],
)
async def test_a_refused_oauth_client_is_a_settings_problem(made, google, exchange, status, error, words):
    google.fails(status, json.dumps({"error": error}).encode())
    with pytest.raises(SetupRequired, match=words):
        await made().refresh(ended(google.issue()), exchange)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("redirect_uri_mismatch", "redirect_uri_mismatch"),
        ("invalid_request", "invalid_request"),
        ("invalid_grant", "did not accept the code; start over"),
        ("invalid_client", "invalid_client"),
    ],
)
async def test_a_code_that_is_refused_fails_the_login(made, google, exchange, error, words):
    google.fails(400, json.dumps({"error": error}).encode())
    with pytest.raises(LoginFailed, match=words):
        await made().login(ScriptedPrompt(browser=True, headless=False), exchange)


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_login_works_without_an_account_name(made, google, exchange, status):
    google.fails(status, path="/userinfo")
    tokens = await made().login(ScriptedPrompt(browser=True, headless=False), exchange)

    assert tokens.refresh_token is not None and tokens.details["project_id"] == PROJECT


async def test_a_static_token_that_ended_needs_a_login(made, google, exchange):
    from msgspec.structs import replace

    with pytest.raises(LoginRequired):
        await made().refresh(replace(ended(google.issue()), refresh_token=None), exchange)


async def test_the_credential_test_reports_account_tier_and_project(made, google, exchange):
    assert await made().test(credential(google.issue()), exchange) == (
        f"dev@example.com, standard-tier, project {PROJECT}"
    )


def test_the_environments_form_gives_every_detail():
    variables = {
        "GEMINI_CLI_1_ACCESS_TOKEN": "a",
        "GEMINI_CLI_1_REFRESH_TOKEN": "r",
        "GEMINI_CLI_1_EXPIRY_DATE": "1790000000000",
        "GEMINI_CLI_1_CLIENT_ID": "c",
        "GEMINI_CLI_1_CLIENT_SECRET": "s",
        "GEMINI_CLI_1_TOKEN_URI": "https://t.example/token",
        "GEMINI_CLI_1_EMAIL": "e@example.com",
        "GEMINI_CLI_1_PROJECT_ID": "p",
        "GEMINI_CLI_1_TIER": "standard-tier",
    }
    (stored,) = from_environment("GEMINI_CLI", variables, provider="gemini_cli", kind="google_oauth")

    assert incomplete_reason(stored.credential(str)) is None
    assert (stored.tier, stored.identity) == ("standard-tier", "e@example.com")
    assert stored.details["token_uri"] == "https://t.example/token"
