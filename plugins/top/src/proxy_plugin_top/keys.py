"""The addresses and admin keys of remote proxies, as given on the command line. All raise ``UsageError``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click
from pydantic import SecretStr

from proxy_core.cli.api import read_small

_VARIABLE = "PROXY_PLUGINS__TOP__KEY"
_LIKE = "a URL is like https://proxy.example or http://127.0.0.1:8000"


def checked_url(url: str, *, plain_http: bool) -> str:
    """Without a slash or ``/v1`` at its end."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise click.UsageError(_LIKE) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isprintable():
        raise click.UsageError(_LIKE)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise click.UsageError("a URL has no user, password or query; the admin key comes from a file or a prompt")
    if parts.scheme == "http" and not is_loopback(url) and not plain_http:
        raise click.UsageError(
            f"http sends the admin key to {parts.hostname} unencrypted: use https or a tunnel, or give --plain-http"
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def keys_of(urls: Sequence[str], files: Sequence[Path], key: SecretStr | None) -> Sequence[SecretStr]:
    """A key for each URL: from the files, from the settings, or asked for."""
    if len(files) not in (0, 1, len(urls)):
        raise click.UsageError("give one --key-file, or one for each URL")
    if files:
        found = [_read(file) for file in files]
        return found * len(urls) if len(found) == 1 else found
    if key is not None:
        return [_usable(key.get_secret_value(), _VARIABLE)] * len(urls)
    if not sys.stdin.isatty():
        raise click.UsageError(f"the admin key is missing: give --key-file, or set {_VARIABLE}")
    return [_usable(click.prompt(f"Admin key of {url}", hide_input=True, err=True), "the input") for url in urls]


def _read(file: Path) -> SecretStr:
    try:
        text = read_small(file).decode()
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} holds no key: it is no text") from None
    return _usable(text, str(file))


def _usable(text: str, where: str) -> SecretStr:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise click.UsageError(f"{where} holds no key: a key is one line of letters, digits and signs")
    return SecretStr(key)
