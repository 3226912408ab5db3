"""What an upstream sends when something is wrong with it, in any format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from proxy_core.testing.faults.fault import Scene
from proxy_core.testing.steps import cut, pause
from proxy_core.testing.upstream import Script

_JSON = {"content-type": "application/json"}
_PAGE = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
#: The wait that a limited upstream asks for.
WAIT_S = 40
#: Longer than a good upstream's pauses, shorter than any sensible limit.
SLOW_S = 4.0


def status(number: int, headers: Mapping[str, str] | None = None, /, **error: Any) -> Callable[[Scene], Script]:
    """An error with these members."""
    body = json.dumps({"error": {"message": f"scripted {number}", "type": "scripted", "code": None, **error}}).encode()
    return lambda scene: Script(number, {**_JSON, **(headers or {})}, (body,))


def page(status: int) -> Callable[[Scene], Script]:
    return lambda scene: Script(status, {"content-type": "text/html"}, (_PAGE,))


def good(scene: Scene) -> Script:
    return scene.wire.whole(scene.stream)


def streamed(*change: Callable[[Scene], list[Any]]) -> Callable[[Scene], Script]:
    """A stream of these steps."""
    return lambda scene: Script(200, scene.kind, [step for part in change for step in part(scene)])


def up_to_content(scene: Scene) -> list[Any]:
    return scene.wire.broken_off


def steps(*steps: Any) -> Callable[[Scene], list[Any]]:
    return lambda scene: list(steps)


def half(scene: Scene) -> Script:
    """A whole response that ends in its middle."""
    return Script(200, scene.kind, (scene.wire.plain[: len(scene.wire.plain) // 2], cut()))


def bytewise(scene: Scene) -> Script:
    data = scene.wire.stream if scene.stream else scene.wire.plain
    return Script(200, scene.kind, [step for at in range(len(data)) for step in (data[at : at + 1], pause(0))])


def failure(scene: Scene) -> Script:
    """In a stream, as one of its events."""
    failure = scene.wire.failure
    framed = failure.startswith((b"data:", b"event:")) or not scene.wire.events
    return Script(200, scene.kind, (failure + b"\n" if framed or not scene.stream else b"data: " + failure + b"\n\n",))


def failure_later(scene: Scene) -> Script:
    return Script(200, scene.kind, [*scene.wire.broken_off, *failure(scene).steps])


def two_byte_line_ends(scene: Scene) -> Script:
    return Script(200, scene.kind, (scene.wire.stream.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),))


def with_comments(scene: Scene) -> Script:
    """Between events, what keeps a connection alive: comments, or empty lines."""
    filler = b": keep-alive\n\n" if scene.wire.events else b"\n"
    return Script(200, scene.kind, [part for piece in scene.wire.pieces for part in (filler, piece)])


def dated(scene: Scene) -> Script:
    at = format_datetime(scene.now + timedelta(seconds=WAIT_S), usegmt=True)
    return status(429, {"retry-after": at})(scene)
