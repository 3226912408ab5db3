"""Every dialect, and every provider and refresher of the plugins here, gets 100,000 broken inputs: requests, responses,
errors, headers, model lists, credential files, answers of token servers.

Each returns something, or raises an error of the project.
"""

import asyncio
import json
import random
from contextlib import suppress

import pytest
import vendor_values as right
from broken import broken_bytes, broken_json, broken_text, pieces
from pydantic import SecretStr

from proxy_core import (
    Credential,
    Deployment,
    HttpResponse,
    InternalError,
    LoginFailed,
    LoginRequired,
    ProxyError,
    ProxyRequest,
    RequestHead,
    ResponseHead,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    UpstreamBroken,
    UpstreamFailure,
    classify_failure,
    jsons,
    quota_windows,
)
from proxy_core.credentials.stored import from_json
from proxy_core.dialects.common import parse_body
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load

KEYS = ("GEMINI", "OPENAI", "MISTRAL", "GROQ", "OPENROUTER", "DEEPSEEK", "ANTHROPIC", "QWEN_CODE", "LITELLM_COHERE")
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    """A generation with every vendor."""
    folder = tmp_path_factory.mktemp("home")
    environ = {f"{name}_API_KEY": f"a-key-of-{name}" for name in KEYS} | {
        "PROXY_DATA_DIR": str(folder),
        "PROXY_API_KEY": "a-client-key-0123456789",
        "PROXY_PLUGINS__LITELLM__PROVIDERS": "cohere",
    }
    found = start(load(environ=environ, cwd=folder), to_run=False).current
    assert {"gemini", "gemini_cli", "openai", "qwen_code", "litellm-cohere"} <= set(found.catalog.providers)
    assert set(found.catalog.dialects) == {name.partition(",")[0] for name in right.REQUESTS}
    return found


def credential(provider):
    return Credential(
        id="c",
        provider=provider.name,
        kind=provider.credential_kind,
        secret=SecretStr("a-secret"),
        label="l",
        details={"project_id": "p", "resource_url": "portal.qwen.ai", "refresh_token": SecretStr("r")},
    )


def chosen(random, values):
    return values[random.choice(sorted(values))]


# --- Requests and responses --------------------------------------------------------------


class Exchange:
    """What a request of a client goes through, and the response to it."""

    def __init__(self, now):
        self.dialects, self.providers = now.catalog.dialects, now.catalog.providers
        self.calls = Calls(self.dialects, 100_000, {})
        self.sanitizers = Sanitizers(now.catalog.sanitizers)

    def request(self, random, raw, name):
        """``name`` is one of the right requests."""
        dialect = self.dialects[name.partition(",")[0]]
        body = parse_body(raw)
        if name in right.ACTIONS:
            action = random.choice(right.ACTIONS[name])
            path = f"/v1beta/models/{broken_text(random, 'demo/m') if random.random() < 0.1 else 'demo/m'}:{action}"
            model = path.removeprefix("/v1beta/models/").rpartition(":")[0]
            head = RequestHead(method="POST", path=path, parameters={"model": model}, query={"alt": "sse"}, headers={})
            body = dialect.read_request(head, body)
        elif dialect.read_request is not None:
            body = dialect.read_request(RequestHead(method="POST", path=dialect.paths[0]), body)
        dialect.check(body)
        stream = bool(body.get("stream"))
        request = ProxyRequest(id="r", client="c", dialect=dialect.name, model="demo/m", stream=stream, body=body)
        return self.sanitizers.request(request, [])

    def encoded(self, random, request, provider):
        call = self.calls.prepare(request, Deployment(provider=provider, model="m"), None)
        self.calls.able(request, [Deployment(provider=provider, model="m")])
        call.encode(credential(provider))
        return call

    def send(self, random, name):
        """A broken request, to each provider that can serve it."""
        raw = broken_json(random, right.REQUESTS[name], of_bytes=0.2)
        request = self.request(random, raw, name)
        for provider in random.sample(sorted(self.providers), 3):
            try:
                self.encoded(random, request, self.providers[provider])
            except InternalError:
                raise
            except ProxyError:
                continue

    def receive(self, random, provider):
        """A broken response to a right request, of any dialect that this provider can serve."""
        name = random.choice(sorted(right.REQUESTS))
        body = {**right.REQUESTS[name], "stream": random.random() < 0.5}
        call = self.encoded(random, self.request(random, json.dumps(body).encode(), name), self.providers[provider])
        is_stream = random.random() < 0.6
        label = random.choice(["text/event-stream" if is_stream else "application/json", "", "text/plain"])
        response = call.body(is_stream, ResponseHead(content_type=label, streaming=body["stream"]))
        for piece in pieces(random, answer(random, is_stream)):
            response.feed(piece)
        response.close()
        if response.failure is not None:
            decide(random, self.dialects, self.providers[provider], response.failure)


RESPONSES = [name for name in right.RESPONSES if name.startswith("responses, ")]
ANTHROPIC = [name for name in right.RESPONSES if name.startswith("anthropic, ")]
ERRORS = ["an error in a chunk", "an error", "responses, an error"]


def answer(random, is_stream):
    """One or several events, or a whole body, with something wrong in it."""
    if not is_stream:
        return broken_json(random, chosen(random, right.RESPONSES), of_bytes=0.2)
    kinds = (["openai, a chunk"], ["gemini"], ["code assist"], RESPONSES, ANTHROPIC, ["a list"], ERRORS)
    names = random.choice(kinds)
    chosen_names = [random.choice(names) for _ in range(random.randint(1, 3 if len(names) == 1 else 6))]
    events = [broken_json(random, right.RESPONSES[name], of_bytes=0.05) for name in chosen_names]
    between = random.choice((b"\n\n", b"\r\n\r\n", b"\n", b"\n\n: x\n\n"))  # with one newline, lines of JSON
    prefix = b"" if between == b"\n" else b"data: "
    data = b"".join(prefix + event + between for event in events) + random.choice((b"", b"data: [DONE]\n\n"))
    return broken_bytes(random, data) if random.random() < 0.2 else data


def decide(random, dialects, provider, failure):
    """What follows from a failure, and the error that the client of each dialect reads."""
    decision = (provider.classify_failure or classify_failure)(failure)
    for dialect in dialects.values():
        json.loads(dialect.encode_error(decision.error, "r").body)
        dialect.stream_error(decision.error, "r")


# --- Errors, headers, lists --------------------------------------------------------------


def headers(random):
    names = random.sample(sorted(right.HEADERS), 5)
    values = {name: random.choice(right.HEADERS[name]) for name in names}
    return {name: broken_text(random, value) if random.random() < 0.4 else value for name, value in values.items()}


def failure(random, now):
    provider = chosen(random, now.catalog.providers)
    body = broken_json(random, chosen(random, right.ERRORS), of_bytes=0.3)
    status = random.choice([400, 401, 402, 403, 404, 409, 413, 422, 429, 499, 500, 502, 503, 504, 529, 600])
    sent = headers(random)
    decide(
        random, now.catalog.dialects, provider, UpstreamFailure(provider="p", status=status, headers=sent, body=body)
    )
    (provider.read_quota or quota_windows)(sent, CLOCK.now())


def model_list(random, now):
    listing = [p for p in now.catalog.providers.values() if p.list_models is not None]
    provider = random.choice(sorted(listing, key=lambda p: p.name))
    data = broken_json(random, chosen(random, right.LISTS), of_bytes=0.2)
    with suppress(ValueError):
        provider.list_models.parse(data)
    if provider.list_models.more is not None:
        with suppress(ValueError):
            provider.list_models.more(provider.list_models.request(credential(provider)), data)


# --- Credentials -------------------------------------------------------------------------


def credential_file(random, now):
    data = broken_json(random, chosen(random, right.FILES), of_bytes=0.3)
    variables = {"DASHSCOPE_API_KEY": broken_text(random, "k")}
    refreshers = now.catalog.refreshers.values()
    readers = [file.read for refresher in refreshers for file in refresher.files]
    readers += [lambda data: from_json(data, "p", "n", now.loaded.data_dir)]
    readers += [
        lambda data, read=file.read: read(data, variables)
        for provider in now.catalog.providers.values()
        for file in provider.key_files
    ]
    for read in readers:
        try:
            read(data)
        except ValueError:
            continue
    for file in (file for refresher in refreshers for file in refresher.files if file.write is not None):
        try:
            file.write(data, credential(chosen(random, now.catalog.providers)))
        except ValueError:
            continue


def token_servers(random, now):
    """Refreshing, testing a login and asking for its quota, with servers that answer anything."""

    async def http(request, *, timeout_s=30.0):
        status = random.choice([200, 200, 200, 400, 401, 403, 429, 500])
        body = broken_json(random, chosen(random, right.TOKEN_SERVERS), of_bytes=0.2)
        return HttpResponse(status, headers(random), body)

    async def ask():
        async with asyncio.timeout(0):  # whoever waits for a server is done here
            for refresher in now.catalog.refreshers.values():
                held = credential(now.catalog.providers["gemini_cli"])
                for work in (refresher.refresh, refresher.test):
                    try:
                        await work(held, http)
                    except (LoginRequired, LoginFailed, SetupRequired, RetryRefresh):
                        continue
            with suppress(UpstreamBroken, RetryRefresh):  # logged
                await now.catalog.providers["gemini_cli"].quota(held, http)

    with suppress(TimeoutError):
        asyncio.run(ask())


READERS = {
    **{f"requests, {name}": (lambda r, now, e, name=name: e.send(r, name), 5_000) for name in right.REQUESTS},
    **{
        f"responses of {name}": (lambda r, now, e, name=name: e.receive(r, name), 5_000)
        for name in ("gemini", "gemini_cli", "qwen_code", "litellm-cohere", "openai", "groq", "anthropic")
    },
    "failures": (lambda r, now, e: failure(r, now), 5_000),
    "model lists": (lambda r, now, e: model_list(r, now), 4_000),
    "credential files": (lambda r, now, e: credential_file(r, now), 4_000),
    "token servers": (lambda r, now, e: token_servers(r, now), 2_000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("read", "inputs"), READERS.values(), ids=READERS)
def test_broken_input_of_vendors_and_clients_is_read_or_refused(now, read, inputs):
    exchange = Exchange(now)
    for seed in range(inputs):
        try:
            read(random.Random(seed), now, exchange)
        except InternalError as error:  # what a plugin's exception becomes
            raise AssertionError(f"seed {seed}") from error
        except ProxyError:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


def test_what_is_broken_here_is_right_before(now):
    """Otherwise every input would be refused at once, and nothing would be tested."""
    exchange = Exchange(now)
    for name, body in right.REQUESTS.items():
        request = exchange.request(random.Random(1), jsons.dumps(body), name)
        served = []
        for provider in now.catalog.providers.values():
            try:
                exchange.encoded(random.Random(1), request, provider)
                served.append(provider.name)
            except ProxyError:
                continue
        assert served, name
