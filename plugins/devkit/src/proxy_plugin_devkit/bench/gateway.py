"""``proxy-core bench URL``: a gateway that runs already, beside the upstream that it relays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from urllib.parse import urlsplit

import click
from msgspec import Struct

from proxy_core.cli.api import table
from proxy_plugin_devkit.bench.load import Load
from proxy_plugin_devkit.bench.systems import drive, upstream
from proxy_plugin_devkit.bench.upstream import CHUNKS

#: What is measured: its name, the kind of load, and over how many connections.
_LOADS = (("plain requests", "plain", 16), ("streams of 100 chunks", "burst", 16), ("one connection", "plain", 1))


class Target(Struct, frozen=True, kw_only=True):
    """A gateway: its base URL, and a key and a model of it."""

    url: str
    key: str
    model: str


def measure(target: Target, port: int, seconds: float) -> list[dict[str, object]]:
    """One row for each load, with the gateway's figures and those of the upstream alone."""
    host, own_port, path = _address(target.url)
    rows: list[dict[str, object]] = []
    with ExitStack() as running:
        running.enter_context(upstream(port=port))
        for name, kind, connections in _LOADS:
            common = {"kind": kind, "connections": connections, "seconds": seconds, "chunks": CHUNKS}
            alone = drive(Load(port=port, key="bench-key", model="small", **common))  # type: ignore[arg-type]  # by name
            through = Load(
                host=host,
                port=own_port,
                path=path,
                key=target.key,
                model=target.model,
                **common,  # type: ignore[arg-type]
            )
            try:
                found = drive(through)
            except RuntimeError as error:
                raise click.ClickException(f"{target.url}: {_last(error)}\n{setup(target, port)}") from None
            rows.append({"load": name, "gateway": found, "upstream": alone})
    return rows


def report(rows: list[dict[str, object]], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(rows, indent=2)
    shown = [
        (
            str(row["load"]),
            f"{_figure(row, 'gateway', 'per_s'):.0f}/s",
            f"{_figure(row, 'upstream', 'per_s'):.0f}/s",
            *(f"{_figure(row, 'gateway', p) - _figure(row, 'upstream', p):.2f} ms" for p in ("p50_ms", "p99_ms")),
        )
        for row in rows
    ]
    return table(("load", "gateway", "upstream alone", "adds at p50", "adds at p99"), shown)


def _figure(row: Mapping[str, object], who: str, name: str) -> float:
    found = row[who]
    assert isinstance(found, dict)
    return float(found[name])


def _address(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise click.BadParameter(f"{url!r} is no http:// address; TLS would be measured, too", param_hint="URL")
    return parts.hostname, parts.port or 80, parts.path.rstrip("/") + "/chat/completions"


def _last(error: RuntimeError) -> str:
    """The last exception in what the load's process printed, without the frame that Python draws around several."""
    lines = [line for line in (line.strip(" |+-") for line in str(error).splitlines()) if line]
    named = [line for line in lines if re.match(r"[\w.]*Error\b", line)]
    return (named or lines or ["no response"])[-1]


def setup(target: Target, port: int) -> str:
    name = target.model.partition("/")[0]
    return (
        f"It needs an OpenAI-compatible upstream at http://127.0.0.1:{port}/v1 that serves {target.model!r}. "
        f'For proxy-core:\n\n[providers.{name}]\nbase_url = "http://127.0.0.1:{port}/v1"\napi_keys = ["bench-key"]\n'
    )
