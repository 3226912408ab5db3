"""The vendors whose logins :mod:`benchmarks.refresh_fire` can share: their files, refreshers and fake servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from proxy_core.interfaces import CredentialRefresher, TokenFile
from proxy_core.testing.example_oauth import EXAMPLE_FILE, KIND
from proxy_core.testing.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuthServer
from proxy_plugin_gemini_cli.code_assist import backend_of
from proxy_plugin_gemini_cli.files import FILES
from proxy_plugin_gemini_cli.oauth import KIND as GOOGLE
from proxy_plugin_gemini_cli.oauth import GoogleLogin
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_gemini_cli.testing import FakeGoogle
from proxy_plugin_oauth import LockFile
from proxy_plugin_oauth.testing import example_refresher


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """``rotates``: a refresh returns a new refresh token, and the old one must never be sent again.

    ``server(reuse_s)`` is the authorization server, ``refresher(base)`` its refresher. A vendor whose file
    has no lock writes it like Node's ``fs.writeFile``: it truncates the file first, then fills it.
    """

    provider: str
    kind: str
    file: TokenFile
    refresher: Callable[[str], CredentialRefresher]
    server: Callable[[float], FakeOAuthServer]
    rotates: bool


def _google(base: str) -> CredentialRefresher:
    settings = GeminiCliSettings.model_validate(
        {
            "code_assist_endpoint": base,
            "token_url": f"{base}/token",
            "userinfo_url": f"{base}/userinfo",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
    )
    return GoogleLogin(settings, backend_of(settings)).refresher()


VENDORS: Mapping[str, Vendor] = {
    "example": Vendor(
        provider="example",
        kind=KIND,
        file=replace(EXAMPLE_FILE, lock=lambda file: LockFile(file.with_suffix(".lock"))),
        refresher=example_refresher,
        server=lambda reuse_s: FakeOAuthServer(strict=True, reuse_s=reuse_s),
        rotates=True,
    ),
    "gemini_cli": Vendor(
        provider="gemini_cli",
        kind=GOOGLE,
        file=FILES[0],
        refresher=_google,
        server=lambda reuse_s: FakeGoogle(reuse_s=reuse_s),
        rotates=False,
    ),
}
