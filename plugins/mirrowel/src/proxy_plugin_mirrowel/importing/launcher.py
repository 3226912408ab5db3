"""``launcher_config.json``: where the old proxy listened, and what it logged."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from proxy_core.cli.api import LoadedSettings
from proxy_plugin_mirrowel.importing.rows import Row
from proxy_plugin_mirrowel.importing.settings import Setting, checked

_FILE = "launcher_config.json"


def found(
    config: Mapping[str, Any] | None, has_key: bool, loaded: LoadedSettings
) -> Iterator[tuple[Setting | None, Row]]:
    """A setting for each entry, or a row that says why there is none. Without the file: what the program did then."""
    if config is None:
        note = "without a launcher it listened on all addresses; here: this machine only, unless server.host is set"
        yield None, Row(what="(no launcher_config.json)", verdict="differs", note=note)
        return
    for name, value in config.items():
        row = Row(what=f"{_FILE} {name}", verdict="no meaning here", note="not an entry that the old launcher had")
        match name:
            case "host" if isinstance(value, str) and (has_key or _is_loopback(value)):
                yield checked(("server", "host"), value, (), loaded), row
            case "host":
                note = "beyond this machine only with a client key, and there is none: it listens on this machine only"
                yield None, Row(what=row.what, verdict="differs", note=note)
            case "port":
                yield checked(("server", "port"), value, (), loaded), row
            case "enable_request_logging":
                yield checked(("records", "enabled"), value, (), loaded), row
            case "enable_raw_logging":
                note = "headers and keys are never recorded; `proxy-core capture` records what went over the wire"
                yield None, Row(what=row.what, verdict="no meaning here", note=note)
            case _:
                yield None, row


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
