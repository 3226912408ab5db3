"""The command line of ``proxy-core top``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import SecretStr

from proxy_core.cli.api import read_settings, settings_options
from proxy_plugin_top.keys import checked_url, keys_of


def command_of(key: SecretStr | None) -> click.Command:
    """``key``: of remote proxies, from the settings."""

    @click.command("top")
    @settings_options
    @click.argument("urls", metavar="[URL]...", nargs=-1)
    @click.option(
        "--key-file",
        "key_files",
        type=click.Path(path_type=Path),
        multiple=True,
        help="A file with the admin key of the remote proxies; or one for each URL, in their order.",
    )
    @click.option(
        "--every",
        "every_s",
        type=click.FloatRange(0.5, 3600),
        default=2,
        show_default=True,
        help="Seconds between two looks.",
    )
    @click.option("--plain-http", is_flag=True, help="Send the admin key unencrypted, over http, to other machines.")
    @click.option("--once", is_flag=True, help="Print one picture as plain text; without a terminal it is always so.")
    def command(
        config: Path | None,
        disable_plugin: tuple[str, ...],
        urls: tuple[str, ...],
        key_files: tuple[Path, ...],
        every_s: float,
        plain_http: bool,
        once: bool,
    ) -> None:
        """Watch accounts, quotas and requests: of the proxy of this installation, or of those at URL, side by side.

        The admin key of a remote proxy comes from --key-file, from PROXY_PLUGINS__TOP__KEY, or is asked for.
        """
        if key_files and not urls:
            raise click.UsageError("--key-file is for remote proxies: give a URL")
        from proxy_plugin_top.once import print_once  # here, because every command's help imports this module
        from proxy_plugin_top.sources import LocalProxy, RemoteProxy, Source

        remote = [checked_url(url, plain_http=plain_http) for url in urls]
        keys = keys_of(remote, key_files, key) if remote else ()
        sources: Sequence[Source] = [RemoteProxy(url, one) for url, one in zip(remote, keys, strict=True)]
        sources = sources or [LocalProxy(read_settings(config, disable_plugin))]
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise SystemExit(asyncio.run(print_once(sources)))
        from proxy_plugin_top.app import Top

        Top(sources, every_s=every_s).run()

    return command
