"""The faulty upstream's behaviour: every way to fail, and how often.

Pure: a seeded generator and a time in, steps out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal

#: The pause between content and a cut: long enough for the content to be read before the connection breaks.
BREATH_S = 0.3
#: The approximate cooldown that readable hints ask for.
HINT_S = 1.0


class Content(bytes):
    """Bytes of a stream event with content, after which the attempt may no longer be replaced."""


#: Bytes are written, numbers are pauses in seconds. ``cut`` resets the connection; ``stall`` is silence until
#: the other side gives up.
Step = bytes | float | Literal["cut", "stall"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The marks of one attempt, which every piece of content repeats."""

    id: str
    key: str
    number: int
    stream: bool
    linger: bool

    def mark(self, piece: int, pieces: int) -> str:
        return f"<{self.id} {self.key} {self.number} {piece}/{pieces}>"


@dataclass(frozen=True, slots=True)
class Play:
    """``ends``: how the attempt ends after all steps. ``hint_s``: the cooldown it asks for, if that is readable."""

    name: str
    steps: Sequence[Step]
    ends: Literal["whole", "error", "broken"] = "error"
    hint_s: float | None = None


# --- Pieces ------------------------------------------------------------------------------

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ENVELOPE = {"id": "chatcmpl-faulty", "created": 1_700_000_000, "model": "small"}


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(value: Mapping[str, object]) -> bytes:
    return _chunked(b"data: " + json.dumps(value).encode() + b"\n\n")


def _choice(delta: Mapping[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({**_ENVELOPE, "object": "chat.completion.chunk", "choices": [choice]})


def _content(asked: Asked, piece: int, pieces: int) -> Content:
    return Content(_choice({"role": "assistant", "content": asked.mark(piece, pieces)}))


_NO_USAGE = {**_ENVELOPE, "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 0}}
_FINISH = _choice({}, "stop") + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _error(message: str, kind: str = "server_error", code: str | None = None, **extra: object) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "code": code, **extra}}


def _answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    content = json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}", "content-type: application/json"]
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*head, f"content-length: {len(content)}", "", ""]).encode() + content


def _whole(asked: Asked) -> bytes:
    message = {"role": "assistant", "content": asked.mark(0, 1)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return _answer(200, {**_ENVELOPE, "object": "chat.completion", "choices": choices})


# --- Plain successes ---------------------------------------------------------------------


def success(asked: Asked, rng: random.Random, wait_s: float = 0.0, name: str = "success") -> Play:
    """A whole response after a pause; ``linger`` gives the client time to disconnect in the middle."""
    pieces = rng.randint(2, 6)
    gap = 0.2 if asked.linger else rng.choice([0.0, 0.0, 0.005, 0.03])
    wait: list[Step] = [wait_s or gap]
    if not asked.stream:
        return Play(name, [*wait, _whole(asked)], "whole")
    steps: list[Step] = [_STREAM, *wait]
    for piece in range(pieces):
        steps += [_content(asked, piece, pieces), gap]
    return Play(name, [*steps, _FINISH], "whole")


def mistake() -> Play:
    """A 400 for the client's own mistake."""
    body = _error("'temperature' must be at most 2.", "invalid_request_error", param="temperature")
    return Play("client's mistake", [_answer(400, body)])


def refused(status: int, name: str) -> Play:
    """A refused key."""
    word = "Incorrect API key provided." if status == 401 else "This key may not use this model."
    return Play(name, [_answer(status, _error(word, "authentication_error", "invalid_api_key"))])


# --- 429, with every kind of hint --------------------------------------------------------


_ABSURD = ("999999999999", "-3", "soon", "nan", "1e999", "Fri, 31 Dec 9999 23:59:59 GMT", "")


def rate_limited(rng: random.Random, now: datetime) -> Play:
    """One of the styles in which upstreams say when to retry."""
    later = now + timedelta(seconds=HINT_S)
    full = (later + timedelta(seconds=1)).replace(microsecond=0)  # for styles that allow only whole seconds
    until_full = (full - now).total_seconds()
    google: dict[str, object] = {
        "code": 429,
        "message": "Resource has been exhausted.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{HINT_S:.1f}s"}],
    }
    none_left = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    anthropic = {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": full.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    limited = _error("Rate limit reached for small.", "rate_limit_error", "rate_limit_exceeded")
    words = f"Rate limit reached for small. Please try again in {HINT_S:.0f}s."
    text = _error(words, "requests", "rate_limit_exceeded")
    reset_s = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{full.timestamp():.0f}"}
    reset_ms = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{later.timestamp() * 1000:.0f}"}
    styles: Sequence[tuple[str, Mapping[str, str], float | None, dict[str, object] | None]] = (
        ("retry-after: seconds", {"retry-after": f"{HINT_S:.0f}"}, HINT_S, None),
        ("retry-after: date", {"retry-after": format_datetime(full, usegmt=True)}, until_full, None),
        ("retry-after-ms", {"retry-after-ms": f"{HINT_S * 1000:.0f}"}, HINT_S, None),
        ("reset-requests: 1s", {**none_left, "x-ratelimit-reset-requests": "1s"}, 1.0, None),
        ("reset-requests: 6m0s", {**none_left, "x-ratelimit-reset-requests": "6m0s"}, None, None),
        ("reset: epoch s", reset_s, until_full, None),
        ("reset: epoch ms", reset_ms, HINT_S, None),
        ("reset: RFC 3339", anthropic, until_full, None),
        ("RetryInfo", {}, HINT_S, {"error": google}),
        ("in words", {}, HINT_S, text),
        ("no hint", {}, None, None),
        ("absurd hint", {"retry-after": rng.choice(_ABSURD)}, None, None),
    )
    name, headers, hint_s, body = rng.choice(styles)
    return Play(f"429 {name}", [_answer(429, body or limited, headers)], hint_s=hint_s)


# --- Everything else that goes wrong -----------------------------------------------------

_ACCOUNT_TROUBLE = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade.",
    "User location is not supported for the API use.",
    "This organization has been disabled.",
)


def _account(rng: random.Random) -> Play:
    words = _error(rng.choice(_ACCOUNT_TROUBLE), "invalid_request_error")
    return Play("400 of the account", [_answer(400, words)])


def _status(status: int, headers: Mapping[str, str] | None = None) -> Play:
    name = f"{status} with a hint" if headers else str(status)
    return Play(name, [_answer(status, _error(f"Failure {status}."), headers)])


def _stream_fault(name: str, asked: Asked, rng: random.Random) -> Play:
    first = _content(asked, 0, 4)
    error = _event(_error("The model failed.")) + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    limited = _event(_error("Rate limit reached.", "rate_limit_error", "rate_limit_exceeded")) + b"0\r\n\r\n"
    steps: dict[str, Sequence[Step]] = {
        "cut before the first event": (_STREAM + _chunked(b": one moment\n\n"), 0.05, "cut"),
        "cut inside the first event": (_STREAM + _chunked(b'data: {"id": "chatc'), 0.05, "cut"),
        "cut after content": (_STREAM, first, BREATH_S, "cut"),
        "error event before content": (_STREAM + rng.choice([error, limited]),),
        "error event after content": (_STREAM, first, rng.choice([0.0, BREATH_S]), error),
        "ended without its end": (_STREAM, first, BREATH_S, b"0\r\n\r\n"),
        "silence after content": (_STREAM, first, "stall"),
    }
    after = "after" in name or "without" in name
    return Play(name, steps[name], "broken" if after else "error")


def _plain_fault(name: str, asked: Asked) -> Play:
    whole = _whole(asked)
    steps: dict[str, Sequence[Step]] = {
        "cut inside the body": (whole[:-20], 0.05, "cut"),
        "error in a 200": (_answer(200, _error("The model failed.")),),
        "not JSON": (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>",),
    }
    return Play(name, steps[name])


def _field_case(name: str, asked: Asked, rng: random.Random) -> Play:
    """What real upstreams and networks did; ``tests/e2e/test_field_cases.py`` has each by itself."""
    dead = {"object": "error", "message": "engine dead", "code": 500}
    prelude = _choice({"role": "assistant", "content": ""}) + _choice({"content": ""}) + _event(_NO_USAGE)
    failures: list[Sequence[Step]] = [
        (0.05, "cut"),
        (_event(_error("The model failed.")) + b"0\r\n\r\n",),
        (b"ZZ\r\n", "cut"),
    ]
    steps: dict[str, Sequence[Step]] = {
        "another protocol's banner": (b"SSH-2.0-OpenSSH_9\r\n", "cut"),
        "two lengths": (_whole(asked).replace(b"\r\n", b"\r\ncontent-length: 3\r\n", 1), "cut"),
        "no size of the first chunk": (_STREAM + b"ZZ\r\n", "cut"),
        "an error called a success": (_answer(200, dead),),
        "an error as the first event": (_STREAM + _event(dead) + b"0\r\n\r\n",),
        "nothing but a role": (_STREAM + prelude, *rng.choice(failures)),
        "framing lost after content": (_STREAM, _content(asked, 0, 4), BREATH_S, b"ZZZ\r\nxx\r\n", "cut"),
    }
    return Play(name, steps[name], "broken" if "after" in name else "error")


#: Per mille of attempts with a working key. The remaining attempts succeed.
RATES: Mapping[str, int] = {
    "429": 100, "401 in passing": 5, "403 in passing": 5, "400 of the account": 4,
    "500": 12, "502": 10, "503": 10, "503 with a hint": 10, "529": 10,
    "reset before the status": 12, "reset after the status": 10, "stall": 5, "slow": 40,
    "cut before the first event": 12, "cut inside the first event": 6, "cut after content": 12,
    "error event before content": 12, "error event after content": 10, "ended without its end": 6,
    "silence after content": 5,
    "cut inside the body": 12, "error in a 200": 10, "not JSON": 3,
    "another protocol's banner": 4, "two lengths": 4, "an error called a success": 6,
    "no size of the first chunk": 6, "an error as the first event": 6, "nothing but a role": 12,
    "framing lost after content": 8,
}  # fmt: skip
_STREAMS = {name for name in RATES if "event" in name or "content" in name or "without" in name}
_FIELD_STREAMS = {"no size of the first chunk", "an error as the first event", "nothing but a role",
                  "framing lost after content"}  # fmt: skip
_FIELD = {"another protocol's banner", "two lengths", "an error called a success"}
_PLAIN = {"cut inside the body", "error in a 200", "not JSON"}


def pick(asked: Asked, rng: random.Random, now: datetime) -> Play:
    """Choose the outcome of this attempt."""
    at = rng.randrange(1000)
    for name, rate in RATES.items():
        at -= rate
        if at < 0:
            return _play(name, asked, rng, now)
    return success(asked, rng)


def _play(name: str, asked: Asked, rng: random.Random, now: datetime) -> Play:
    if name in _FIELD_STREAMS and not asked.stream:
        return success(asked, rng)
    if name in _FIELD or name in _FIELD_STREAMS:
        return _field_case(name, asked, rng)
    if name in _STREAMS:
        return _stream_fault(name, asked, rng) if asked.stream else success(asked, rng)
    if name in _PLAIN:
        return success(asked, rng) if asked.stream else _plain_fault(name, asked)
    match name:
        case "429":
            return rate_limited(rng, now.astimezone(UTC))
        case "401 in passing" | "403 in passing":
            return refused(int(name[:3]), name)
        case "400 of the account":
            return _account(rng)
        case "503 with a hint":
            return _status(503, {"retry-after": "1"})
        case "reset before the status":
            return Play(name, ["cut"])
        case "reset after the status":
            return Play(name, [_STREAM if asked.stream else _whole(asked).partition(b"{")[0], 0.05, "cut"])
        case "stall":
            return Play(name, ["stall"])
        case "slow":
            return success(asked, rng, rng.uniform(0.2, 0.7), "slow first byte")
        case _:
            return _status(int(name))
