"""Whatever the place, whatever the shape, whatever the split: a secret is not in the line; words are."""

import json
import logging
import string
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy_core.interfaces import AttemptRecord, RequestRecord
from proxy_core.plugins.loader import load_plugins
from proxy_core.plugins.registry import build_catalog
from proxy_core.records.capture import Budget, Capture
from proxy_core.records.log import program_log
from proxy_core.records.record import Lines
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.settings.loading import load
from proxy_core.settings.schema import LogSettings

OURS = "our-own/" + "secret+1234567890"
LOADED = load(environ={}, cwd=Path("/"))
CATALOG = build_catalog(load_plugins(LOADED, built_in=[BuiltIn(LOADED)]))
REDACTION = Redaction(CATALOG.redactors)
SCRUB = SecretScrubber([OURS])
CHAT = CATALOG.dialects["openai_chat"]

cores = st.text(string.ascii_letters + string.digits, min_size=20, max_size=40).map(lambda core: core + "A1")
#: Vendors' shapes, and one of ours: ``(text, what must not be seen)``.
secrets = st.one_of(
    *(cores.map(lambda core, p=p: (p + core, core)) for p in ("sk-" + "proj-", "gs" + "k_", "AI" + "za", "gh" + "p_")),
    cores.map(lambda core: ("ey" + f"JhbGciOiJI.{core}.{core}", core)),
    cores.map(lambda core: ("-----BEGIN " + f"PRIVATE KEY-----\n{core}\n-----END PRIVATE KEY-----", core)),
    st.just((OURS, "secret+1234567890")),
)
words = st.text("abcdefgh XYZ.,!?'é\n", max_size=20)


def record_of(capture, stream=False, message=None):
    attempt = AttemptRecord(
        deployment="demo/small", credential="c", status=200, fault=None, message=message, duration_s=0.1
    )
    return RequestRecord(
        id="r", client="c", dialect="openai_chat", model="demo/small", stream=stream, status=200, outcome="completed",
        error=None, started_at=datetime(2026, 1, 1, tzinfo=UTC), first_event_s=0.1, duration_s=0.2,
        attempts=(attempt,), usage=None,
    )  # fmt: skip


def capture_of(headers=()):
    capture = Capture(dialect=CHAT, path="/v1/chat/completions", budget=Budget(10_000_000), max_body_bytes=1_000_000)
    capture.request_headers(list(headers))
    return capture


def line_of(capture, **record):
    line = Lines(REDACTION, SCRUB).line(record_of(capture, **record), capture)
    assert "redaction" not in json.loads(line)  # it was cleaned, not dropped
    return line.decode()


def nested(value, steps):
    for step in steps:
        value = [value, "x"] if step == "list" else {"k": value} if step == "dict" else json.dumps({"k": value})
    return value


shapes = st.recursive(
    words | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
steps = st.lists(st.sampled_from(["list", "dict", "text"]), max_size=3)


@given(secrets, words, steps, shapes, st.booleans())
def test_in_any_shape_of_any_body(secret, before, steps, other, escaped):
    text, core = secret
    body = {"planted": nested(f"{before} {text}", steps), "other": other, f"x {text}": 1}
    sent = json.dumps(body, ensure_ascii=escaped).encode("utf-8", "replace")
    capture = capture_of()
    capture.request(sent)
    capture.attempt(0, sent=sent, headers={}, error_body=sent)
    capture.piece(sent, 0.1)
    capture.error = f"{before}{text}"

    line = line_of(capture, message=f"it says: {text}")

    assert core not in line
    assert json.loads(line)["request"]["body"]["other"] == other


@given(
    secrets,
    st.sampled_from(["authorization", "x-api-key", "cookie", "x-anything", "referer", "x-token"]),
    st.sampled_from(["{}", "Bearer {}", "a=1; s={}", "https://x.example/?q=1&key={}&z=1", '{{"k":"{}"}}']),
)
def test_in_any_header_and_query(secret, name, form):
    text, core = secret
    value = form.format(text.replace("\n", " "))
    capture = capture_of([(name.encode(), value.encode()), (b"x-plain", b"words")])
    capture.attempt(0, sent=b"", headers={name: value, "x-plain": "words"}, error_body=b"")

    line = line_of(capture)

    assert core not in line
    assert json.loads(line)["request"]["headers"]["x-plain"] == "words"


@given(secrets, words, words, st.data())
def test_in_any_split_of_any_stream(secret, before, after, data):
    text, core = secret
    whole = f"{before} {text} {after}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    key = data.draw(st.sampled_from(["content", "reasoning_content", "refusal"]))
    chunks = [{"choices": [{"index": 0, "delta": {key: part}, "finish_reason": None}]} for part in parts]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    at = data.draw(st.integers(0, len(stream)))
    capture = capture_of()
    for piece in (stream[:at], stream[at:]):
        capture.piece(piece, 0.1)

    line = line_of(capture, stream=True)

    assert core not in line
    assert "[redacted]" in json.loads(line)["response"]["body"]["choices"][0]["message"][key]


def raised(links, text):
    """An exception whose chain has ``text`` at its end."""
    error = ValueError(text)
    for link in links:
        try:
            if link == "cause":
                raise KeyError("outer") from error
            if link == "context":
                try:
                    raise error
                except (ValueError, KeyError, ExceptionGroup):
                    raise KeyError("outer")  # noqa: B904
            if link == "group":
                raise ExceptionGroup("outer", [error])
            noted = KeyError("outer")
            noted.add_note(str(error))
            raise noted
        except (KeyError, ExceptionGroup) as outer:
            error = outer
    return error


@given(secrets, st.lists(st.sampled_from(["cause", "context", "group", "note"]), max_size=3), st.booleans())
def test_in_any_chain_of_exceptions(tmp_path_factory, secret, links, cleaned):
    text, core = secret
    redaction = REDACTION if cleaned else Redaction([])
    folder = tmp_path_factory.mktemp("log")
    with program_log(LogSettings(folder=folder), folder=folder, scrub=SCRUB, redaction=redaction):
        logging.getLogger("proxy_core.tested").error("it broke with %s", OURS, exc_info=raised(links, text))
    written = (folder / "proxy.log").read_text()

    assert core not in written
    assert "it broke with [redacted]" in written
    assert "Error" in written


@given(st.dictionaries(words, shapes, max_size=4), words)
def test_words_come_out_as_they_went_in(body, text):
    sent = json.dumps(body).encode()
    capture = capture_of([(b"x-plain", b"words")])
    capture.request(sent)
    capture.piece(sent, 0.1)
    capture.error = text

    record = json.loads(line_of(capture, message=text))

    assert record["request"]["body"] == record["response"]["body"] == body
    assert record["response"]["error"] == record["attempts"][0]["message"] == text
    assert record["request"]["headers"] == {"x-plain": "words"}
