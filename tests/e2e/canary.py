"""The canary test's birds and stories: secrets of every shape, and every way a request can go.

A story plants secrets of its own in a request and in what the upstream answers, and says how the
request is sent. All stories of a run share one program.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field

from proxy_core.testing import chunk, cut, pause, stall

#: What is no secret by its looks, and still nobody's business where no redactor cleans it.
PLAIN = "quite-ordinary-words"


@dataclass
class Canaries:
    """Secrets that one owner plants. ``needles`` is what to look for: halves, so that a shortened secret is found."""

    owner: str
    needles: list[bytes] = field(default_factory=list)

    def core(self):
        """Letters and digits that occur nowhere else."""
        digest = hashlib.sha256(f"{self.owner} {len(self.needles)}".encode()).digest()
        core = base64.b32encode(digest).decode()[:23] + "7"
        self.needles += [core[:12].encode(), core[12:].encode()]
        return core

    def openai(self):
        return "sk-" + "proj-" + self.core()

    def google(self):
        return "AI" + "za" + self.core()

    def jwt(self):
        return "ey" + f"JhbGciOiJIUzI1NiJ9.ey{self.core()}.{self.core()}"

    def basic(self):
        text = base64.b64encode(f"user:{self.core()}".encode()).decode()
        self.needles.append(text.encode())
        return "Basic " + text

    def pem(self):
        return "-----BEGIN " + f"RSA PRIVATE KEY-----\nMII{self.core()}\n-----END RSA PRIVATE " + "KEY-----"

    def everything(self):
        """An object with one of each, at several depths, and ordinary words."""
        return {
            "words": f"{PLAIN} and {self.openai()}, {self.jwt()}",
            "list": [self.google(), [{"deep": {"deeper": [f"see https://x.example/?key={self.core()}&x=1"]}}]],
            "password": self.core(),
            "nested": {"client_secret": self.core(), "Authorization": self.basic(), "note": f"Bearer {self.core()}"},
            self.openai(): PLAIN,
            "file": self.pem(),
            "escaped": json.dumps({"api_key": self.core()}),
        }


@dataclass
class Sent:
    """How a story's request is sent; ``leave`` closes the connection after the first bytes."""

    path: str = "/v1/chat/completions"
    body: object = None
    method: str = "POST"
    headers: dict = field(default_factory=dict)
    key: str | None = None
    leave: bool = False


@dataclass
class Story:
    """What a story is given: its secrets, its provider and that one's key, and the upstream's script."""

    name: str
    own: Canaries
    credential: str
    header: str
    upstream: object

    @property
    def model(self):
        return f"{self.name}/small"

    def headers(self):
        own = self.own
        return {
            "cookie": f"session={own.core()}; theme={own.openai()}",
            "x-custom": own.jwt(),
            "proxy-authorization": own.basic(),
            "x-api-key": own.openai(),
            "x-plain": PLAIN,
            "user-agent": f"tool/1 ({own.google()})",
        }

    def chat(self, **more):
        """A chat request with secrets in every place that a client has."""
        own = self.own
        content = f"{PLAIN}: {own.openai()} {own.pem()} password: {own.core()}"
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps(own.everything())}}
        messages = [
            {"role": "system", "content": own.jwt()},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": own.google()},
            {"role": "user", "content": [{"type": "text", "text": content}]},
        ]
        guarded = {"api_key": own.openai(), "extra_body": {"headers": {"authorization": f"Bearer {own.core()}"}}}
        body = {"model": self.model, "messages": messages, "metadata": own.everything(), **guarded, **more}
        path = f"/v1/chat/completions?token={own.core()}&key={own.openai()}"
        return Sent(path=path, body=body, headers=self.headers())

    def stream(self, **more):
        return self.chat(stream=True, **more)

    def error(self):
        """An upstream's error object that repeats what it was sent, ours and theirs."""
        own = self.own
        told = f"{PLAIN}: bad key {self.credential} or {self.header}, {own.openai()}"
        return {
            "error": {
                "message": told,
                "type": self.credential,
                "code": own.google(),
                "param": own.jwt(),
                **own.everything(),
            }
        }

    def response_headers(self):
        return {"x-upstream": self.own.openai(), "set-cookie": f"id={self.own.core()}", "x-plain": PLAIN}

    def fails(self, status):
        # The same text in other bytes, as some languages write it.
        body = json.dumps(self.error()).replace("/", "\\/").replace("k-", "k\\u002d").encode()
        self.upstream.responds(status, body=body, headers=self.response_headers())

    def streams(self, *texts, after=()):
        steps = [chunk({"content": text}) for text in texts]
        self.upstream.says(*steps, *after, headers=self.response_headers())


STORIES = {}


def story(make):
    STORIES[make.__name__.replace("_", "-")] = make
    return make


for _status in (400, 401, 402, 403, 404, 422, 429, 500, 503):

    def _failing(it, status=_status):
        it.fails(status)
        return it.chat()

    STORIES[f"upstream-{_status}"] = _failing


@story
def plain(it):
    message = {"role": "assistant", "content": f"{PLAIN} {it.own.openai()}", **it.own.everything()}
    echo = {"request": {"authorization": f"Bearer {it.credential}", "x-internal-token": it.header}}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "object": "chat.completion", **echo}
    it.upstream.responds(200, body, headers=it.response_headers())
    return it.chat()


@story
def streamed(it):
    it.streams(PLAIN, it.own.openai(), f"you sent {it.credential} and {it.header}", after=[b"data: [DONE]\n\n"])
    return it.stream()


@story
def split_over_chunks(it):
    key = it.own.openai()
    split = [key[:5], key[5:20], key[20:], " ", it.own.jwt()[:30]]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": f'{{"k": "{key[:20]}'}}
    rest = {"index": 0, "function": {"arguments": f'{key[20:]}"}}'}}
    after = [
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [rest]}),
        chunk({}, finish="stop"),
        b"data: [DONE]\n\n",
    ]
    it.streams(*split, after=after)
    return it.stream()


@story
def error_instead_of_events(it):
    it.upstream.says(b"data: " + json.dumps(it.error()).encode() + b"\n\n", headers=it.response_headers())
    return it.stream()


@story
def error_after_events(it):
    it.streams(PLAIN, after=[pause(0.05), b"data: " + json.dumps(it.error()).encode() + b"\n\n"])
    return it.stream()


@story
def error_with_status_200(it):
    it.upstream.responds(200, it.error())
    return it.chat()


@story
def cut_stream(it):
    it.streams(it.own.openai(), after=[pause(0.02), cut()])
    return it.stream()


@story
def stalled_stream(it):
    it.streams(it.own.openai(), after=[stall()])
    return it.stream()


@story
def silent_upstream(it):
    it.upstream.says(stall())
    return it.chat()


@story
def reset_connection(it):
    it.upstream.resets()
    return it.chat()


@story
def client_leaves(it):
    it.streams(it.own.openai(), after=[stall()])
    sent = it.stream()
    sent.leave = True
    return sent


@story
def oversize_event(it):
    it.streams("first", after=[pause(0.02), chunk({"content": it.own.openai() * 200})])
    return it.stream()


@story
def oversize_reply(it):
    it.upstream.responds(200, {"choices": [], "x": it.own.openai() * 500})
    return it.chat()


@story
def unreadable_reply(it):
    it.upstream.responds(200, body=f"<html>{it.credential} {it.own.openai()}".encode())
    return it.chat()


@story
def unreadable_event(it):
    it.upstream.says(chunk({"content": "a"}), f"data: {{{it.credential} {it.own.openai()}\n\n".encode())
    return it.stream()


@story
def embeddings(it):
    body = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "echo": f"{it.credential} {it.own.openai()}"}
    it.upstream.responds(200, body)
    return Sent(
        "/v1/embeddings", {"model": it.model, "input": it.own.openai(), **it.own.everything()}, headers=it.headers()
    )


@story
def completions(it):
    it.upstream.responds(200, {"object": "text_completion", "choices": [{"text": it.own.openai(), "index": 0}]})
    return Sent("/v1/completions", {"model": it.model, "prompt": it.own.pem()}, headers=it.headers())


@story
def unknown_model(it):
    sent = it.chat()
    sent.body["model"] = f"{PLAIN}/{it.own.openai()}"
    return sent


@story
def wrong_key(it):
    sent = it.chat()
    sent.key = it.own.openai()
    return sent


@story
def wrong_path(it):
    return Sent(f"/v1/{it.own.openai()}?key={it.own.core()}", it.own.everything(), headers=it.headers())


@story
def wrong_method(it):
    return Sent(f"/v1/chat/completions?key={it.own.core()}", it.own.everything(), "PUT", headers=it.headers())


@story
def too_large(it):
    return it.chat(padding=it.own.openai() * 2000)


@story
def no_json(it):
    return Sent(body=f'{{"model": "{it.own.openai()}", {PLAIN} '.encode(), headers=it.headers())


@story
def nested_too_deeply(it):
    return Sent(body=b'{"a":' * 20_000 + it.own.openai().encode(), headers=it.headers())


@story
def nested_deeply(it):
    value = it.own.openai()
    for _ in range(150):
        value = [value]
    return it.chat(deep=value)


@story
def wrong_field(it):
    return it.chat(stream=it.own.openai())


@story
def broken_sanitizer(it):
    return it.chat(trip="sanitizer")


@story
def broken_filter(it):
    it.streams("a", it.own.openai(), after=[b"data: [DONE]\n\n"])
    return it.stream(trip="filter")


@story
def broken_judge(it):
    it.fails(500)
    sent = it.chat()
    sent.body["model"] = f"judged/{it.name}"
    return sent


@story
def broken_encoder(it):
    sent = it.chat()
    sent.body["model"] = f"broken/{it.name}"
    return sent


@story
def unknown_single_model(it):
    return Sent(f"/v1/models/{it.name}/{it.own.openai()}?key={it.own.core()}", None, "GET", headers=it.headers())


#: A plugin that tells everything it is given, in exceptions and in its log, and fails wherever it can.
NOISY = """
import threading

from pydantic import SecretStr

from proxy_core import (
    LogSink, Observer, PluginInfo, PluginSettings, Provider, Redactor, Sanitizer, UpstreamRequest, hookimpl,
)


class NoisySettings(PluginSettings):
    token: SecretStr
    upstream: str = ""
    break_redactor: bool = False
    chatty: bool = False
    break_startup: bool = False


PLUGIN = PluginInfo(name="noisy", api=1, settings=NoisySettings, providers=("broken", "judged"))


@hookimpl
def proxy_sanitizers(ctx):
    settings = ctx.settings(NoisySettings)

    def request(request):
        ctx.log.info("my token is %s", settings.token.get_secret_value())
        if settings.chatty:
            ctx.log.info("request %s: %s", request.model, request.body)
        if request.body.get("trip") == "sanitizer":
            raise ValueError(f"{request.body} {settings.token.get_secret_value()}")
        return request

    class Failing:
        def feed(self, event):
            raise ValueError(repr(event))

        def close(self):
            return []

    def events(request):
        return Failing() if request.body.get("trip") == "filter" else None

    return [Sanitizer(name="noisy", request=request, events=events)]


@hookimpl
def proxy_redactors(ctx):
    def redact(record):
        raise ValueError(repr(record))

    return [Redactor(name="noisy", redact=redact)] if ctx.settings(NoisySettings).break_redactor else []


@hookimpl
def proxy_providers(ctx):
    def broken(call, credential):
        raise ValueError(f"{call} {credential.secret.get_secret_value()}")

    def encode(call, credential):
        key = credential.secret.get_secret_value()
        headers = [("authorization", "Bearer " + key)]
        return UpstreamRequest(url=ctx.settings(NoisySettings).upstream, headers=headers, content=b"{}")

    def judge(failure):
        raise ValueError(repr(failure) + repr(failure.body))

    return [
        Provider(name="broken", dialects=["openai_chat"], encode=broken),
        Provider(name="judged", dialects=["openai_chat"], encode=encode, classify_failure=judge),
    ]


@hookimpl
def proxy_observers(ctx):
    async def observe(record):
        raise ValueError(repr(record))

    return [Observer(name="noisy", observe=observe)]


@hookimpl
def proxy_log_sinks(ctx):
    settings = ctx.settings(NoisySettings)
    if settings.break_startup:
        raise ValueError("my token is " + settings.token.get_secret_value())

    async def write(lines):
        threading.Thread(target=lambda: {}[lines[0]]).start()
        raise ValueError(repr(lines))

    async def close():
        raise ValueError("my token is " + settings.token.get_secret_value())

    return [LogSink(name="noisy", write=write, close=close)]
"""


def install(folder):
    """Put the plugin into a folder for ``PYTHONPATH``, as an installer would."""
    info = folder / "noisy-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "noisy.py").write_text(NOISY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[proxy_core.plugins]\nnoisy = noisy\n")
    return str(folder)
