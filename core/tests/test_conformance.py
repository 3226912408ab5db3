"""The conformance kit finds what it is made to find, in a provider with a format of its own: one JSON value a line."""

import json
import logging
from pathlib import Path

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    CredentialRefresher,
    EventFilter,
    Failed,
    FailureDecision,
    Finish,
    LoginRequired,
    LogSink,
    Provider,
    Redactor,
    RetryRefresh,
    Sanitizer,
    StreamCut,
    Text,
    TextDelta,
    TextFilter,
    Tokens,
    UpstreamBroken,
    UpstreamRequest,
    Usage,
    UsageReport,
    classify_failure,
    json_bytes,
)
from proxy_core.dialects import openai_chat
from proxy_core.testing.conformance import (
    CONTRACT_CASES,
    DIALECT_CASES,
    PROVIDER_CASES,
    REDACTOR_CASES,
    REFRESHER_CASES,
    SANITIZER_CASES,
    SINK_CASES,
    DialectSubject,
    ProviderSubject,
    RedactorSubject,
    RefresherSubject,
    SanitizerSubject,
    SinkSubject,
    run_case,
    run_cases,
)
from proxy_core.testing.faults import FAULTS, Wire

pytest_plugins = ["pytester"]

ALL = {case.name: case for case in (*CONTRACT_CASES, *PROVIDER_CASES)}
SPOKEN = '{"say": "hél"}\n{"say": "lo"}\n{"end": [1, 2]}\n'.encode()
CALLS = b'{"call": ["a", "f", "{}"]}\n{"call": ["b", "g", "{}"]}\n{"end": [1, 2]}\n'
WIRE = Wire(stream=SPOKEN, plain=SPOKEN, calls=CALLS, failure=b'{"failed": "overloaded"}')


class Decoder:
    def __init__(self, call, response):
        self.rest, self.ended, self.calls = b"", False, 0

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [event for line in lines if line.strip() for event in self.read(line)]

    def read(self, line):
        try:
            value = json.loads(line)
        except ValueError:
            raise UpstreamBroken("A line is not JSON.") from None
        if "say" in value:
            yield TextDelta(text=value["say"])
        elif "call" in value:
            id_, name, arguments = value["call"]
            yield CallStart(call=self.calls, id=id_, name=name)
            yield CallDelta(call=self.calls, arguments=arguments)
            yield CallEnd(call=self.calls)
            self.calls += 1
        elif "failed" in value:
            yield Failed(message=value["failed"], status=503)
        else:
            yield from self.end(*value["end"])

    def end(self, prompt, completion):
        self.ended = True
        yield Finish(reason="stop")
        yield UsageReport(usage=Usage(prompt=prompt, completion=completion))

    def close(self):
        if not self.ended:
            raise StreamCut("It ended early.")
        return []


def encode(call, credential):
    asked = [part.text for message in call.chat.messages for part in message.parts if isinstance(part, Text)]
    headers = [("x-key", credential.secret.get_secret_value())]
    body = {"ask": asked, **call.chat.extra}
    return UpstreamRequest(url="https://lines.example/say", headers=headers, content=json_bytes(body))


GOOD = Provider(name="lines", encode=encode, decoder=Decoder)


def outcome(name, provider, wire=WIRE, **fields):
    return run_case(ALL[name], ProviderSubject(provider=provider, wire=wire, **fields))


def test_a_good_provider_passes_every_case_that_concerns_it():
    outcomes = list(run_cases([*CONTRACT_CASES, *PROVIDER_CASES], ProviderSubject(provider=GOOD, wire=WIRE)))

    assert [(o.case.name, o.message) for o in outcomes if o.result == "failed"] == []
    missing = {o.case.name for o in outcomes if o.result == "not applicable"}
    assert missing == {"401, then refresh", "rotating tokens"}


@pytest.mark.parametrize("name", ["401, then refresh", "rotating tokens"])
def test_a_good_provider_with_logins_passes(name):
    assert outcome(name, replace(GOOD, credential_kind="lines_oauth")).result == "passed"


# --- What each case finds ------------------------------------------------------------------


class WithoutEnd(Decoder):
    def close(self):
        return []


class EndingAnyhow(Decoder):
    def feed(self, data):
        return [*super().feed(data), *([] if self.ended else self.end(1, 1))]


class BytesToText(Decoder):
    def feed(self, data):
        return super().feed(data.decode(errors="replace").encode())


class LineByRead(Decoder):
    def feed(self, data):
        return [event for line in data.splitlines() for event in self.read(line)]


class Skipping(Decoder):
    def read(self, line):
        return super().read(line) if line.endswith(b"}") else []


class OtherWhenPlain(Decoder):
    def __init__(self, call, response):
        super().__init__(call, response)
        self.streaming = response.streaming

    def read(self, line):
        return super().read(line if self.streaming else line.replace(b"lo", b"p"))


class Uncounted(Decoder):
    def end(self, prompt, completion):
        self.ended = True
        return [Finish(reason="stop")]


class OneCall(Decoder):
    def read(self, line):
        self.calls = 0
        return super().read(line)


class Trusting(Decoder):
    def read(self, line):
        return [TextDelta(text="?"), *self.end(1, 1)] if b"failed" in line else super().read(line)


class NeverEnding(Decoder):
    ended = False

    def close(self):
        return [Finish(reason="stop")]


def with_key_in(**where):
    def changed(call, credential):
        key = credential.secret.get_secret_value()
        return replace(encode(call, credential), **{name: value(key) for name, value in where.items()})

    return changed


def without_extra(call, credential):
    return encode(replace(call, chat=replace(call.chat, extra={})), credential)


def changing(call, credential):
    call.chat.messages[0].parts.clear()
    return encode(call, credential)


def logging_the_key(call, credential):
    logging.getLogger("proxy_core.plugin.lines").debug("key %s", credential.secret.get_secret_value())
    return encode(call, credential)


def impatient(failure):
    decision = classify_failure(failure)
    return replace(decision, cooldown_s=1.0) if decision.cooldown else decision


def as_the_clients(failure):
    decision = classify_failure(failure)
    return replace(decision, fault="client", next="reject", cooldown=None) if failure.status == 401 else decision


def careless(failure):
    return classify_failure(failure) if failure.body.startswith(b'{"error"') else None


def everywhere(failure):
    return FailureDecision(fault="provider", next="rotate", error=UpstreamBroken("no"))


BROKEN = {
    "no end marker": replace(GOOD, decoder=WithoutEnd),
    "cut after content": replace(GOOD, decoder=EndingAnyhow),
    "split UTF-8": replace(GOOD, decoder=BytesToText),
    "any split of the bytes": replace(GOOD, decoder=BytesToText),
    "any split of a response": replace(GOOD, decoder=LineByRead),
    "one byte at a time": replace(GOOD, decoder=LineByRead),
    "bad chunk": replace(GOOD, decoder=Skipping),
    "a good response": replace(GOOD, decoder=OtherWhenPlain),
    "usage": replace(GOOD, decoder=Uncounted),
    "parallel tool calls": replace(GOOD, decoder=OneCall),
    "error in a 200": replace(GOOD, decoder=Trusting),
    "error after content": replace(GOOD, decoder=Trusting),
    "empty 200": replace(GOOD, decoder=NeverEnding),
    "a request goes only where settings say": replace(
        GOOD, encode=with_key_in(url=lambda key: f"https://x.example/{key}/say")
    ),
    "unknown fields": replace(GOOD, encode=without_extra),
    "no secret in the log of a good request": replace(GOOD, encode=logging_the_key),
    "no secret in errors and logs": replace(GOOD, encode=logging_the_key),
    "429: Retry-After in seconds": replace(GOOD, classify_failure=impatient),
    "429: Retry-After as a date": replace(GOOD, classify_failure=impatient),
    "401: one credential": replace(GOOD, classify_failure=as_the_clients),
    "every failure gets a decision": replace(GOOD, classify_failure=careless),
    "400": replace(GOOD, classify_failure=everywhere),
}


@pytest.mark.parametrize(("name", "provider"), BROKEN.items())
def test_a_broken_provider_fails(name, provider):
    found = outcome(name, provider)

    assert found.result == "failed"
    assert found.message


@pytest.mark.parametrize("name", ["parallel tool calls", "error in a 200", "half a response"])
def test_a_missing_sample_is_asked_for(name):
    found = outcome(name, GOOD, Wire(stream=SPOKEN))

    assert found.result == "not applicable"
    assert "_sample" in found.message


def test_the_page_of_the_kit_has_every_case_and_why_it_exists():
    page = (Path(__file__).parents[2] / "docs/conformance.md").read_text()
    musts = {fault.name: fault.must for fault in FAULTS}
    others = [*SANITIZER_CASES, *REDACTOR_CASES, *SINK_CASES, *REFRESHER_CASES, *DIALECT_CASES]

    rows = [f"| {case.name} | {case.why} | {musts.get(case.name, '')} |" for case in ALL.values()]
    assert [row for row in [*rows, *(f"| {case.name} | {case.why} |" for case in others)] if row not in page] == []
    assert len(musts) == len(FAULTS)


# --- The other kinds -----------------------------------------------------------------------


def failed(cases, subject):
    return {o.case.name for o in run_cases(cases, subject) if o.result == "failed"}


class Shout(EventFilter):
    """Waits for the end of a word."""

    def __init__(self):
        self.held = ""

    def feed(self, event):
        if isinstance(event, TextDelta):
            self.held += event.text
            said, space, self.held = self.held.rpartition(" ")
            return [TextDelta(text=(said + space).upper())] if space else []
        return [*self.close(), event] if isinstance(event, Finish) else [event]

    def close(self):
        held, self.held = self.held, ""
        return [TextDelta(text=held.upper())] if held else []


class Forgetful(Shout):
    def feed(self, event):
        return [*super().close(), event] if isinstance(event, Finish) else super().feed(event)

    def close(self):
        return []


class Late(Shout):
    def feed(self, event):
        return [event] if isinstance(event, Finish) else super().feed(event)


class ByPiece(Shout):
    def feed(self, event):
        return [TextDelta(text=event.text.title())] if isinstance(event, TextDelta) else [event]


class Silent(Shout):
    def feed(self, event):
        return [] if isinstance(event, TextDelta) else [event]


class Tail(TextFilter):
    """Keeps the last characters for ever."""

    def __init__(self):
        super().__init__("zebra", "horse", hold=5)

    def feed(self, event):
        return super().feed(event) if isinstance(event, TextDelta) else [event]

    def close(self):
        return []


class OnlyText(Shout):
    def feed(self, event):
        return super().feed(event) if isinstance(event, TextDelta | Finish) else []


def in_place(request):
    request.body["x"] = 1
    return request


def fragile(request):
    return request.with_body({"first": request.body["messages"][0]["content"]})


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"request": lambda request: request.with_body({**request.body, "user": "x"})}, set()),
        ({"events": lambda request: Shout()}, set()),
        ({"request": in_place}, {"any request, unchanged in place"}),
        ({"request": fragile}, {"any request, unchanged in place"}),
        ({"events": lambda request: Forgetful()}, {"held text is released"}),
        ({"events": lambda request: Late()}, {"one finish, at the end"}),
        ({"events": lambda request: ByPiece()}, {"any split of the text"}),
        ({"events": lambda request: TextFilter("fox", "", hold=3)}, set()),
        ({"events": lambda request: Silent()}, {"text is not swallowed"}),
        ({"events": lambda request: Tail()}, {"text is not swallowed"}),
        ({"events": lambda request: OnlyText()}, {"other events pass"}),
    ],
)
def test_sanitizers(fields, wanted):
    found = failed(SANITIZER_CASES, SanitizerSubject(sanitizer=Sanitizer(name="s", **fields)))

    assert found >= wanted
    assert bool(found) == bool(wanted)


def deep(record, change):
    if isinstance(record, dict):
        return {key: deep(value, change) for key, value in record.items()}
    if isinstance(record, list):
        return [deep(value, change) for value in record]
    return change(record) if isinstance(record, str) else record


@pytest.mark.parametrize(
    ("redact", "wanted"),
    [
        (lambda record: deep(record, lambda text: text.replace("hunter2", "***")), set()),
        (lambda record: {k: v for k, v in record.items() if v != "hunter2"}, {"what it removes, at any depth"}),
        (lambda record: {"id": record["id"]}, {"any record, unchanged in place"}),
        (lambda record: deep(record, lambda text: f"<{text}>"), {"twice is once"}),
        (lambda record: record.update(x=1) or record, {"any record, unchanged in place"}),
    ],
)
def test_redactors(redact, wanted):
    subject = RedactorSubject(redactor=Redactor(name="r", redact=redact), secrets=["hunter2"])

    assert failed(REDACTOR_CASES, subject) >= wanted
    assert bool(failed(REDACTOR_CASES, subject)) == bool(wanted)


def test_sinks():
    async def write(lines):
        lines[0]

    assert failed(SINK_CASES, SinkSubject(sink=LogSink(name="s", write=write))) == {"any batch"}


def test_refreshers():
    async def anything(credential, http):
        response = await http(UpstreamRequest(url="https://other.example/", headers=[], content=b""))
        raise LoginRequired(response.body.decode() + credential.refresh_token.get_secret_value())

    async def good(credential, http):
        response = await http(UpstreamRequest(url="https://auth.example/token", headers=[], content=b""))
        if b"invalid_grant" in response.body:
            raise LoginRequired("Log in again.")
        try:
            tokens = json.loads(response.body)
            return Tokens(
                access_token=SecretStr(tokens["access_token"]), refresh_token=SecretStr(tokens["refresh_token"])
            )
        except (ValueError, KeyError):
            raise RetryRefresh("It answered nonsense.") from None

    made = CredentialRefresher(kind="k", refresh=good, servers=["https://auth.example/token"])
    response = b'{"access_token": "at-2", "refresh_token": "rt-2"}'

    assert failed(REFRESHER_CASES, RefresherSubject(refresher=made, response=response)) == set()
    bad = RefresherSubject(refresher=replace(made, refresh=anything), response=response)
    assert failed(REFRESHER_CASES, bad) == {
        "a good response",
        "rotating tokens",
        "tokens go only to its servers",
        "failures that pass",
        "no token in an error",
    }


def test_dialects():
    hello = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    good = DialectSubject(dialect=openai_chat.DIALECT, requests=[hello])

    assert failed(DIALECT_CASES, good) == set()
    deaf = replace(openai_chat.DIALECT, check=lambda body: body["messages"][0]["role"])
    assert "odd requests" in failed(DIALECT_CASES, DialectSubject(dialect=deaf, requests=[hello]))


# --- With pytest ---------------------------------------------------------------------------

SUITE = """
import pytest
from proxy_core import Provider, json_bytes, UpstreamRequest
from proxy_core.testing import ProviderConformance

def encode(call, credential):
    headers = [("authorization", "Bearer " + credential.secret.get_secret_value())]
    return UpstreamRequest(url="https://x.example/v1/chat/completions", headers=headers, content=json_bytes(call.body))

class TestMine(ProviderConformance):
    deviations = {"bad chunk": "never mind"}

    @pytest.fixture
    def provider(self):
        return Provider(name="mine", encode=encode, dialects=["openai_chat"]%s)
"""


def test_pytest_finds_the_kit_and_prints_a_table_and_a_badge(pytester):
    pytester.makepyfile(test_mine=SUITE % "")
    done = pytester.runpytest("-p", "no:cacheprovider", "-n0", "--conformance-badge", "badge.json", "-k", "429 or bad")

    done.assert_outcomes(passed=10)
    done.stdout.fnmatch_lines(["TestMine (provider)*10*10", "*bad chunk: passed (it passes: remove it*"])
    badge = json.loads((pytester.path / "badge.json").read_text())
    assert (badge["message"], badge["color"]) == ("10 of 10 cases", "brightgreen")


def test_a_deviation_that_is_no_case_fails(pytester):
    suite = SUITE.replace('"bad chunk"', '"bad chunks"')
    pytester.makepyfile(test_mine=suite % "")
    done = pytester.runpytest("-p", "no:cacheprovider", "-n0", "-k", "test_contract")

    assert done.parseoutcomes()["failed"] == 1
    done.stdout.fnmatch_lines(["*there is no case 'bad chunks' for a provider; did you mean 'bad chunk'?"])


def test_a_failure_says_why_the_case_exists(pytester):
    judge = ", classify_failure=lambda failure: None"
    pytester.makepyfile(test_mine=SUITE % judge)
    done = pytester.runpytest("-p", "no:cacheprovider", "-n0", "--conformance-badge", "badge.json", "-k", "decision")

    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*classify_failure returned None*", "*Why this case exists: A classifier that fails*"])
    assert json.loads((pytester.path / "badge.json").read_text())["color"] == "red"
