"""``proxy-core capture``: a proxy that keeps each request with the responses of its upstreams, redacted."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy_core.cli.api import load, settings_options, write_private

if TYPE_CHECKING:
    from proxy_core.testing.captures import Capture


@click.command("capture")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@settings_options
@click.option("--port", type=int, default=8000, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many requests.")
def command(folder: Path, config: Path | None, disable_plugin: tuple[str, ...], port: int, count: int | None) -> None:
    """Run the proxy, and keep in FOLDER a file for each request: what was asked, sent and answered, redacted.

    `proxy-core replay` runs such a file again, offline. Look at a file before you give it away: a text that
    is streamed in pieces is redacted piece by piece.
    """
    overrides: dict[str, Any] = {
        "server": {"host": "127.0.0.1", "port": port, "workers": 1},
        "plugins": {"disabled": [*load(config).settings.plugins.disabled, *disable_plugin]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_capture(folder, config, overrides, count))


async def _capture(folder: Path, config: Path | None, overrides: dict[str, Any], count: int | None) -> None:
    from proxy_core.testing.captures import serve_capturing, start_capturing, written

    loaded = load(config, overrides=overrides)
    active, taken = start_capturing(loaded)
    kept = 0

    def keep(capture: Capture) -> None:
        nonlocal kept
        kept += 1
        file = folder / f"{datetime.now():%Y%m%d-%H%M%S}-{capture.id[:12]}.json"
        write_private(file, written(capture))
        click.echo(f"kept {file}: {capture.status}, {len(capture.exchanges)} exchanged with upstreams")
        if count is not None and kept >= count:
            active.stop.set()

    await serve_capturing(active, taken, keep, lambda url: click.echo(f"proxy-core captures on {url}"))
