"""Find the OAuth client: from the settings, or from the Gemini CLI installed here. This package contains none."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import Credential
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_oauth import OAuthClient

NO_CLIENT = (
    "no OAuth client found. Google logins need a client id and secret, and this package contains none: set "
    "GEMINI_CLI_CLIENT_ID and GEMINI_CLI_CLIENT_SECRET (or client_id and client_secret in [plugins.gemini_cli]), "
    "or install the Gemini CLI (npm install -g @google/gemini-cli), whose own client is then used"
)

_ID = re.compile(rb"""["'](\d{6,20}-[a-z0-9]{32}\.apps\.googleusercontent\.com)["']""")
_SECRET = re.compile(rb"""["'](GOCSPX-[A-Za-z0-9_-]{28})["']""")
_PACKAGES = ("@google/gemini-cli", "@google/gemini-cli-core")
_MAX_FILE = 64 * 1024 * 1024
_MAX_FILES = 400


class NoClient(Exception):
    """No OAuth client was found; the message says how to get one."""

    def __init__(self) -> None:
        super().__init__(NO_CLIENT)


def own_client(settings: GeminiCliSettings, places: Sequence[Path] | None = None) -> OAuthClient:
    """The client for logins. Reads files if the settings name none, so call it in a thread. Raises ``NoClient``."""
    if settings.client_id:
        return OAuthClient(
            client_id=settings.client_id, client_secret=settings.client_secret, token_url=str(settings.token_url)
        )
    found = installed_client(module_folders() if places is None else places) if settings.installed_cli else None
    if found is None:
        raise NoClient
    return OAuthClient(client_id=found[0], client_secret=found[1], token_url=str(settings.token_url))


def client_of(credential: Credential, settings: GeminiCliSettings) -> OAuthClient | None:
    """The client that a credential names (from a gcloud file or the environment); ``None``: it was made with ours."""
    details = credential.details
    token_url = _plain(details, "token_uri") or str(settings.token_url)
    client_id = _plain(details, "client_id")
    if client_id is None:
        return None
    secret = details.get("client_secret")
    if isinstance(secret, str):
        secret = SecretStr(secret)
    return OAuthClient(client_id=client_id, client_secret=secret, token_url=token_url)


def at_server_of(credential: Credential, client: OAuthClient) -> OAuthClient:
    """The client at the token server that issued the credential, if that is another one."""
    token_url = _plain(credential.details, "token_uri")
    return replace(client, token_url=token_url) if token_url else client


def _plain(details: Mapping[str, str | SecretStr], name: str) -> str | None:
    value = details.get(name)
    return (value.get_secret_value() if isinstance(value, SecretStr) else value) or None


# --- The installed client ----------------------------------------------------------------


def module_folders() -> list[Path]:
    """The folders for npm's global packages on the known operating systems. Runs no program."""
    home = Path.home()
    found = [
        Path("/usr/local/lib/node_modules"),
        Path("/usr/lib/node_modules"),
        Path("/opt/homebrew/lib/node_modules"),
        home / ".npm-global/lib/node_modules",
        home / ".local/lib/node_modules",
        home / ".bun/install/global/node_modules",
        home / "AppData/Roaming/npm/node_modules",
        *sorted((home / ".nvm/versions/node").glob("*/lib/node_modules"), reverse=True)[:5],
    ]
    program = shutil.which("gemini")
    if program is not None:
        # The program is a link into its package: .../node_modules/@google/gemini-cli/dist/index.js
        real = Path(os.path.realpath(program))
        found = [parent for parent in real.parents if parent.name == "node_modules"][:2] + found
    return list(dict.fromkeys(found))


def installed_client(places: Sequence[Path]) -> tuple[str, SecretStr] | None:
    """Id and secret from the vendor's published files (both are in one file); ``None`` if there is none."""
    for file in islice(_candidates(places), _MAX_FILES):
        try:
            if file.stat().st_size > _MAX_FILE:
                continue
            data = file.read_bytes()
        except OSError:
            continue
        client_id, secret = _ID.search(data), _SECRET.search(data)
        if client_id and secret:
            return client_id[1].decode("ascii"), SecretStr(secret[1].decode("ascii"))
    return None


def _candidates(places: Sequence[Path]) -> Iterator[Path]:
    """First the file that holds them in every known version, then the package's other built files."""
    folders = []
    for place in places:
        for package in _PACKAGES:
            folders += [place / package, place / "@google/gemini-cli/node_modules" / package]
    existing = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    yield from (known for f in existing if (known := f / "dist/src/code_assist/oauth2.js").is_file())
    for folder in existing:
        for part in ("bundle", "dist"):
            yield from sorted((folder / part).glob("*.js"))
        yield from sorted((folder / "dist/src/code_assist").glob("*.js"))
