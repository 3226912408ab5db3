"""Contract tests that check what the core relies on, for inheritance by a plugin's own tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from proxy_core.errors import ProxyError
from proxy_core.failures.policy import classify_failure
from proxy_core.interfaces import Credential, FailureDecision, Provider, ProviderCall, ResponseHead
from proxy_core.messages import ChatEvent, ChatRequest, Message, Text, UpstreamFailure

SECRET = "contract-secret-0123456789"


def every_split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``data`` in two reads, at every offset."""
    for at in range(len(data) + 1):
        yield data[:at], data[at:]


class ProviderContract:
    """Subclass it as ``Test...`` with a fixture ``provider``; set ``stream_sample`` to a recorded response.

    ::

        class TestMyProvider(ProviderContract):
            stream_sample = b"data: ..."

            @pytest.fixture
            def provider(self):
                return build_my_provider()
    """

    #: A complete streamed response in the provider's own format; empty if it speaks a core dialect.
    stream_sample: bytes = b""
    #: Its content type.
    stream_content_type: str = "text/event-stream"

    @pytest.fixture
    def credential(self, provider: Provider) -> Credential:
        return Credential(
            id="c0ffee00", provider=provider.name, kind=provider.credential_kind, secret=SecretStr(SECRET), label="test"
        )

    @pytest.fixture
    def call(self, provider: Provider) -> ProviderCall:
        dialect = provider.dialects[0] if provider.dialects else None
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True} if dialect else {}
        chat = ChatRequest(
            model="m", messages=[Message(role="user", parts=[Text(text="hi")])], dialect="openai_chat", stream=True
        )
        return ProviderCall(dialect=dialect, body=body, chat=chat, stream=True)

    def test_a_request_goes_only_where_settings_say(
        self, provider: Provider, call: ProviderCall, credential: Credential
    ) -> None:
        request = provider.encode(call, credential)
        assert request.url.startswith(("https://", "http://"))
        assert SECRET not in request.url.partition("?")[0]
        assert SECRET.encode() not in request.content

    def test_no_secret_shows_in_a_repr(self, provider: Provider, call: ProviderCall, credential: Credential) -> None:
        assert SECRET not in repr(provider.encode(call, credential)) + repr(credential)

    def test_every_failure_gets_a_verdict(self, provider: Provider) -> None:
        judge = provider.classify_failure or classify_failure
        bodies = [b"", b"{", b"<html>no</html>", b"[]", json.dumps({"error": {"message": "x"}}).encode()]
        for status in (300, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529):
            for body in bodies:
                decision = judge(UpstreamFailure(provider=provider.name, status=status, body=body))
                assert isinstance(decision, FailureDecision)
                assert isinstance(decision.error, ProxyError)
                assert decision.error.status != 401, "an upstream's 401 is never the client's"

    def test_any_split_of_the_bytes_gives_the_same_events(self, provider: Provider, call: ProviderCall) -> None:
        if not self.stream_sample or provider.decoder is None:
            pytest.skip("the provider has no decoder of its own, or no stream_sample is given")
        whole = self._decode(provider, call, self.stream_sample)
        assert whole
        for first, second in every_split(self.stream_sample):
            assert self._decode(provider, call, first, second) == whole

    def _decode(self, provider: Provider, call: ProviderCall, *reads: bytes) -> list[ChatEvent]:
        assert provider.decoder is not None
        decoder = provider.decoder(call, ResponseHead(content_type=self.stream_content_type, streaming=True))
        events = [event for read in reads for event in decoder.feed(read)]
        return [*events, *decoder.close()]
