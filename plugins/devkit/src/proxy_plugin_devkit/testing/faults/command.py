"""``proxy-core faults [URL]``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import httpx
from msgspec import to_builtins

from proxy_core import Credential, Provider, ProviderCall, UpstreamRequest, json_bytes
from proxy_core.cli.api import table
from proxy_core.testing.faults import FAULTS, Fault
from proxy_core.testing.plugin import plugin_with
from proxy_core.testing.proxy import CLIENT_KEY, run_proxy
from proxy_plugin_devkit.testing.faults.play import (
    FaultUpstream,
    Gateway,
    Player,
    Result,
    exhausts,
    in_order,
    not_played,
)

#: So many that each fault which puts one out of use leaves others.
KEYS = [f"fault-key-{number:02}" for number in range(1, 25)]
#: After which a credential that is left would have answered.
_SOON_S = 3.0
#: Of a proxy that is started here: impatient, so that silence does not take long.
_TIMEOUTS = {"first_event_s": 6, "idle_s": 6}


@click.command("faults")
@click.argument("url", required=False)
@click.option("--key", envvar="PROXY_API_KEY", default="", help="A client key of the gateway [PROXY_API_KEY].")
@click.option("--model", default="faults/small", show_default=True, help="The model whose upstream is played.")
@click.option("--port", type=int, default=9100, show_default=True, help="Where the gateway finds the upstream.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only faults whose name or group contains it.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds for a request at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--list", "listed", is_flag=True, help="List the faults, why they are played and what a client must see.")
def command(
    url: str | None, key: str, model: str, port: int, only: Sequence[str], patience: float, as_json: bool, listed: bool
) -> None:
    """Play everything that goes wrong with upstreams to a gateway, and check what its clients see.

    URL is the base URL of any OpenAI-compatible gateway, as http://127.0.0.1:4000/v1. Without it, a proxy of this
    installation is started and tried. The upstream runs inside this command.
    """
    faults = [f for f in in_order(FAULTS) if not only or any(text in f"{f.group} {f.name}" for text in only)]
    if not faults:
        raise click.BadParameter(f"no fault is called {', '.join(only)}; --list lists them", param_hint="--only")
    if listed:
        click.echo(table(("fault", "why", "the client must see"), [(f.name, f.why, f.must) for f in faults]))
        return
    gateway = Gateway(url=url, key=key, model=model, patience_s=patience) if url else None
    results = asyncio.run(_there(gateway, port, faults) if gateway else _here(faults, patience))
    click.echo(json.dumps(to_builtins(results), indent=2) if as_json else report(results))
    sys.exit(1 if any(result.problem for result in results) else 0)


def report(results: Sequence[Result]) -> str:
    rows = [
        (r.name, _mode(r), _word(r), f"{r.took_s:.1f} s", r.problem or ("" if r.played else r.saw)) for r in results
    ]
    played = [result for result in results if result.played]
    good = sum(result.problem is None for result in played)
    shown = table(("fault", "client", "result", "took", "what is wrong"), rows)
    missing = len(results) - len(played)
    return f"{shown}\n{good} of {len(played)} as they must be" + (f", {missing} not played" if missing else "")


def _word(result: Result) -> str:
    return "failed" if result.problem else "ok" if result.played else "not played"


def _mode(result: Result) -> str:
    return "streams" if result.stream else "plain"


async def _here(faults: Sequence[Fault], patience_s: float) -> list[Result]:
    """Each fault meets a proxy that has just started."""
    logging.getLogger("proxy_core").addHandler(logging.NullHandler())  # its warnings are no results
    results = []
    async with FaultUpstream() as upstream, httpx.AsyncClient() as http:
        for fault in faults:
            for stream in fault.modes:
                async with _own(upstream) as url:
                    gateway = Gateway(url=url, key=CLIENT_KEY, model="faults/small", patience_s=patience_s)
                    results.append(await Player(gateway, upstream, http).play(fault, stream=stream))
    return results


@asynccontextmanager
async def _own(upstream: FaultUpstream) -> AsyncIterator[str]:
    def encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        headers.append(("content-type", "application/json"))
        return UpstreamRequest(url=f"{upstream.url}/chat/completions", headers=headers, content=json_bytes(call.body))

    plugin = plugin_with(proxy_providers=[Provider(name="faults", dialects=["openai_chat"], encode=encode)])
    settings: dict[str, Any] = {
        "plugins": {"allowed": []},
        "providers": {"faults": {"api_keys": KEYS[:3]}},
        "timeouts": _TIMEOUTS,
        "routing": {"max_wait_s": 2},
    }
    with tempfile.TemporaryDirectory() as folder:
        async with run_proxy(settings, folder=Path(folder), modules=[plugin]) as proxy:
            yield proxy.url


async def _there(gateway: Gateway, port: int, faults: Sequence[Fault]) -> list[Result]:
    """All faults meet the same gateway, which may recover between them."""
    results: list[Result] = []
    async with FaultUpstream(port) as upstream, httpx.AsyncClient() as http:
        player = Player(gateway, upstream, http)
        found = await player.reaches()
        if not found.keys:
            raise click.ClickException(
                f"{gateway.url} did not ask the upstream here ({found}).\n{setup(gateway, port)}"
            )
        lost = False
        for fault, stream in [(one, stream) for one in faults for stream in one.modes]:
            patience_s = _SOON_S if lost or exhausts(fault) else gateway.patience_s
            if await player.recovers(patience_s):
                results.append(await player.play(fault, stream=stream))
            else:
                given_up = not lost and not exhausts(fault)
                lost = lost or given_up
                results.append(not_played(fault, stream=stream, after_s=patience_s if given_up else None))
    return results


def setup(gateway: Gateway, port: int) -> str:
    """What a gateway has to have, and how proxy-core gets it."""
    name = gateway.model.partition("/")[0]
    keys = ", ".join(f'"{key}"' for key in KEYS)
    return (
        f"Give it an OpenAI-compatible upstream at http://127.0.0.1:{port}/v1 with the keys {KEYS[0]} to {KEYS[-1]}, "
        f"which serves {gateway.model!r}. For proxy-core:\n\n"
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{port}/v1"\napi_keys = [{keys}]\n'
    )
