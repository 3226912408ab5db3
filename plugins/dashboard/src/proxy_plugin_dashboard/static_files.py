"""Style sheets, scripts and pictures. A table of what there is: no path of a request reaches the file system."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from msgspec import Struct

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_NAMES = (
    "style.css",
    "app.js",
    "try.js",
    "icon.svg",
    "vendor/htmx.min.js",
    "vendor/sse.min.js",
    "vendor/idiomorph-ext.min.js",
)


class StaticFile(Struct, frozen=True, kw_only=True):
    content: bytes
    content_type: str
    version: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    folder = files("proxy_plugin_dashboard") / "static"
    return {name: _file((folder / name).read_bytes(), name) for name in _NAMES}


def asset(name: str) -> str:
    """The address of a file, which changes with its content."""
    return f"/admin/ui/static/{name}?v={static_files()[name].version}"


def _file(content: bytes, name: str) -> StaticFile:
    return StaticFile(
        content=content, content_type=_TYPES[name.rpartition(".")[2]], version=sha256(content).hexdigest()[:12]
    )
