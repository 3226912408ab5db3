"""Cases for providers: their requests, secrets and logins, and every fault of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec.structs import replace

from proxy_core.errors import ProxyError
from proxy_core.failures.policy import classify_failure
from proxy_core.interfaces import FailureDecision, ProviderCall, ResponseHead
from proxy_core.messages import ChatEvent, UpstreamFailure, UpstreamRequest
from proxy_core.testing.conformance.case import Case, NotApplicable, expect, returned
from proxy_core.testing.conformance.provider_play import SECRETS, Play, ProviderSubject, playing, plays
from proxy_core.testing.faults import FAULTS, Fault, Wire
from proxy_core.testing.upstream import Script

_STATUSES = (300, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
_BODIES = (b"", b"{", b"<html>no</html>", b"[]", json.dumps({"error": {"message": "x"}}).encode())


# --- Requests and secrets ----------------------------------------------------------------


def _encoded(subject: ProviderSubject, call: ProviderCall) -> UpstreamRequest:
    return returned(subject.provider.encode(call, subject.credential()), UpstreamRequest, "encode")


async def _goes_where_settings_say(subject: ProviderSubject) -> None:
    request = _encoded(subject, subject.call())
    absolute = request.url.startswith(("https://", "http://")) or subject.provider.send is not None
    expect(absolute, f"the URL {request.url!r} is not absolute")
    expect(SECRETS[0] not in request.url.partition("?")[0], "the credential is in the URL's path")
    expect(SECRETS[0].encode() not in request.content, "the credential is in the body")


async def _leaves_the_request_alone(subject: ProviderSubject) -> None:
    call = subject.call()
    messages = call.body.get("messages", ())
    before = json.dumps(messages)
    _encoded(subject, call)
    expect(json.dumps(messages) == before, "encode changed call.body in place; only its top level is a copy")


async def _no_secret_in_a_repr(subject: ProviderSubject) -> None:
    credential = subject.credential()
    told = repr(_encoded(subject, subject.call())) + repr(credential) + repr(subject.provider)
    expect(SECRETS[0] not in told, "repr() shows the credential; use SecretStr, or a field without repr")


async def _passes_unknown_fields_or_says_so(subject: ProviderSubject) -> None:
    async with playing(subject) as play:
        seen = await play.ask(True, x_conformance="canary-4711")
        if seen.status == 400 and "x_conformance" in str(seen.error):
            return
        expect(seen.status == 200, f"a field that is unknown to the provider made it fail: {seen}")
        passed = b"canary-4711" in play.sent[0].content
        told = "x_conformance" in seen.headers.get("x-proxy-dropped", "")
        expect(passed or told, "x_conformance was left out without a word: name it in UpstreamRequest.dropped")


async def _no_secret_in_errors_and_logs(subject: ProviderSubject) -> None:
    """An upstream that repeats the key in its error, as some do."""
    for status in (400, 401, 500):
        message = f"Incorrect API key provided: {SECRETS[0]} {SECRETS[1]}"
        body = json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode()
        script = Script(status, {"content-type": "application/json"}, (body,))
        async with playing(subject, plays(script)) as play:
            seen = await play.ask(True)
            told = seen.body + str(dict(seen.headers)).encode()
            expect(not _shows_a_secret(told.decode()), f"the client's error shows the credential: {seen}")
            expect(not _shows_a_secret(play.log.getvalue()), f"the log shows the credential, after a {status}")


async def _no_secret_in_the_log_of_a_good_request(subject: ProviderSubject) -> None:
    async with playing(subject) as play:
        await play.ask(True)
        expect(not _shows_a_secret(play.log.getvalue()), "the log shows the credential")


def _shows_a_secret(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


async def _judges_every_failure(subject: ProviderSubject) -> None:
    judge, name = subject.provider.classify_failure or classify_failure, subject.provider.name
    for status in _STATUSES:
        for body in _BODIES:
            decision = judge(UpstreamFailure(provider=name, status=status, body=body))
            what = f"{status} with the body {body!r}"
            expect(isinstance(decision, FailureDecision), f"{what}: classify_failure returned {decision!r}")
            expect(isinstance(decision.error, ProxyError), f"{what}: its error is {decision.error!r}")
            expect(decision.error.status != 401, f"{what}: an upstream's 401 is never the client's")


# --- Logins ------------------------------------------------------------------------------

#: Longer than the time within which no login is refreshed twice, shorter than a refresh may take.
_PAUSE_S = 15.0
_EXPIRED = Script(401, {"content-type": "application/json"}, (b'{"error": {"message": "The token has expired."}}',))


async def _refreshes_after_a_401(subject: ProviderSubject) -> None:
    if not subject.has_logins:
        raise NotApplicable("the provider has no logins")
    async with playing(subject, plays(_EXPIRED, "first")) as play:
        seen = await play.ask(True)
        expect(seen.status == 200, f"one of two logins was rejected, and the client sees {seen}")
        play.clock.passes(_PAUSE_S)
        await play.until(lambda: play.refreshed and not play.refreshing)
        expect(play.refreshed, "the rejected login was not refreshed")


async def _uses_rotated_tokens(subject: ProviderSubject) -> None:
    if not subject.has_logins:
        raise NotApplicable("the provider has no logins")
    async with playing(subject, plays(_EXPIRED)) as play:
        for number in range(3):
            await play.ask(True)
            play.clock.passes(_PAUSE_S)
            await play.until(lambda: len(play.refreshed) > number and not play.refreshing)  # noqa: B023 - called at once
            play.clock.passes(700)
        expect(len(play.refreshed) > 1, "rejected logins were refreshed once at most")
        expect(
            len(set(play.refreshed)) == len(play.refreshed), "a refresh token was used twice, although it had rotated"
        )


# --- Responses ---------------------------------------------------------------------------


def _needed(fault: Fault, wire: Wire) -> None:
    missing = {
        "plain": "give a recorded whole response: plain_sample" * (not wire.plain),
        "failure": "give an error in a 200: failure_sample" * (not wire.failure),
        "calls": "give a stream with two tool calls: calls_sample" * (not wire.calls),
        "accents": "stream_sample has no character of several bytes" * wire.stream.isascii(),
    }.get(fault.needs)
    if missing:
        raise NotApplicable(missing)


async def _play(subject: ProviderSubject, fault: Fault) -> None:
    _needed(fault, subject.samples)
    modes = [stream for stream in fault.modes if stream or subject.samples.plain]
    if not modes:
        raise NotApplicable("give a recorded whole response: plain_sample")
    for stream in modes:
        async with playing(subject, fault) as play:
            text, committed = await play.good()
            play.stage.scene = replace(play.stage.scene, wire=subject.samples.with_commit(committed))
            seen = (
                [await play.leave(stream)] if fault.leaves else [await play.ask(stream) for _ in range(fault.requests)]
            )
            problem = fault.problem(seen, text)
            expect(problem is None, f"{'streamed' if stream else 'plain'}: {problem}. {fault.must}")
            _rests_as_told(fault, play)


def _rests_as_told(fault: Fault, play: Play) -> None:
    wait_s, rests_s = fault.wait_s, play.rests_s
    if wait_s is not None:
        expect(
            wait_s - 2 <= rests_s <= wait_s * 1.5 + 5, f"told to wait {wait_s:g} s, the credential rests {rests_s:g} s"
        )


async def _decodes_any_split(subject: ProviderSubject) -> None:
    data = subject.samples.stream
    whole = _decoded(subject, data)
    expect(whole, "the decoder reads nothing in stream_sample")
    for at in range(len(data) + 1):
        expect(
            _decoded(subject, data[:at], data[at:]) == whole, f"split after {at} bytes, stream_sample has other events"
        )


def _decoded(subject: ProviderSubject, *reads: bytes) -> list[ChatEvent]:
    make, wire = subject.provider.decoder, subject.samples
    if make is None:
        raise NotApplicable("the provider has no decoder of its own")
    decoder = make(subject.call(), ResponseHead(content_type=wire.headers(True)["content-type"], streaming=True))
    events = [event for read in reads for event in decoder.feed(read)]
    return [*events, *decoder.close()]


async def _reads_any_split(subject: ProviderSubject) -> None:
    wire = subject.samples
    async with playing(subject) as play:
        whole = await play.ask(True)
        for at in _offsets(len(wire.stream)):
            play.stage.fault = plays(Script(200, wire.headers(True), (wire.stream[:at], wire.stream[at:])))
            seen = await play.ask(True)
            expect(seen.text == whole.text and seen.complete, f"split after {at} bytes, it is {seen}, not {whole}")


def _offsets(size: int) -> Sequence[int]:
    return range(0, size, max(1, size // 60))


def _fault_case(fault: Fault) -> Case[ProviderSubject]:
    async def run(subject: ProviderSubject) -> None:
        await _play(subject, fault)

    return Case(name=fault.name, group=fault.group, why=fault.why, run=run)


def _case(
    group: str, name: str, why: str, run: Callable[[ProviderSubject], Coroutine[Any, Any, None]]
) -> Case[ProviderSubject]:
    return Case(name=name, group=group, why=why, run=run)


#: What a provider's functions promise by themselves.
CONTRACT_CASES: tuple[Case[ProviderSubject], ...] = (
    _case(
        "requests",
        "a request goes only where settings say",
        "A credential in a path or body ends up in access logs.",
        _goes_where_settings_say,
    ),
    _case(
        "requests",
        "the request is left alone",
        "An attempt that changes the request changes the next attempt, with another provider.",
        _leaves_the_request_alone,
    ),
    _case("secrets", "no secret in a repr", "Values are printed in tracebacks and debuggers.", _no_secret_in_a_repr),
    _case(
        "credentials",
        "every failure gets a decision",
        "A classifier that fails on an unusual body turns an upstream's error into a bug of the plugin.",
        _judges_every_failure,
    ),
    _case("formats", "any split of the bytes", "The network splits a response anywhere.", _decodes_any_split),
)

#: The provider in the whole proxy, with every fault.
PROVIDER_CASES: tuple[Case[ProviderSubject], ...] = (
    _case(
        "requests",
        "unknown fields",
        "A field that is left out without a word looks like a model that ignores it.",
        _passes_unknown_fields_or_says_so,
    ),
    _case(
        "secrets",
        "no secret in errors and logs",
        "Some upstreams repeat the key in their error; clients and log files must not get it.",
        _no_secret_in_errors_and_logs,
    ),
    _case(
        "secrets",
        "no secret in the log of a good request",
        "Log files are copied into bug reports.",
        _no_secret_in_the_log_of_a_good_request,
    ),
    _case(
        "credentials",
        "401, then refresh",
        "A token may be rejected before its time; a refresh repairs it without its owner.",
        _refreshes_after_a_401,
    ),
    _case(
        "credentials",
        "rotating tokens",
        "A server that rotates refresh tokens revokes the login when an old one comes back.",
        _uses_rotated_tokens,
    ),
    _case(
        "formats", "any split of a response", "A read may end in the middle of a line or a character.", _reads_any_split
    ),
    *map(_fault_case, FAULTS),
)
