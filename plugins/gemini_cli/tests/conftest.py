"""A fake Google and proxies that use it."""

import pytest
from pydantic import SecretStr

from proxy_core.testing import open_exchange
from proxy_core.testing.credentials import StoredCredential, Vault
from proxy_plugin_gemini_cli.files import FILES
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_gemini_cli.testing import PROJECT, FakeGoogle


@pytest.fixture
async def google():
    async with FakeGoogle() as running:
        yield running


@pytest.fixture
async def exchange():
    async with open_exchange() as running:
        yield running


@pytest.fixture
def settings(google):
    return GeminiCliSettings.model_validate(google.settings)


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path / "data" / "credentials", FILES)


@pytest.fixture
def login(google, vault):
    """Stores a login: ``login("dev@example.com", details={...}, tier=...)``."""

    def store(identity="dev@example.com", *, name=None, details=None, **fields):
        tokens = google.issue(identity)
        stored = StoredCredential(
            provider="gemini_cli",
            name=name or identity,
            kind="google_oauth",
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=tokens.expires_at,
            identity=identity,
            details={"project_id": PROJECT} if details is None else details,
            **fields,
        )
        return vault.add(stored)

    return store


@pytest.fixture
def start(make_proxy, google):
    """Starts a proxy with both providers: ``await start(plugin={...}, routing={...})``."""

    async def make(*, plugin=None, environ=None, **settings):
        tables = {
            "plugins": {"gemini_cli": {**google.settings, **(plugin or {})}},
            "providers": {"gemini": google.provider},
            "routing": {"max_wait_s": 5, "retry_delay_s": 0.01, "retry_jitter_s": 0},
            **settings,
        }
        return await make_proxy(tables, environ=environ)

    return make


@pytest.fixture
def client_secret():
    return SecretStr("example-secret")
