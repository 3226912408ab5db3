"""What the core relies on, as tests for inheritance by a plugin's own: one class for each kind of plugin.

The cases are in :mod:`proxy_core.testing.conformance`, where they can also be run without pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    Dialect,
    LogSink,
    Provider,
    ProviderCall,
    Redactor,
    Sanitizer,
)
from proxy_core.testing.conformance import (
    CONTRACT_CASES,
    DIALECT_CASES,
    PROVIDER_CASES,
    REDACTOR_CASES,
    REFRESHER_CASES,
    SANITIZER_CASES,
    SINK_CASES,
    Case,
    DialectSubject,
    NotApplicable,
    ProviderSubject,
    RedactorSubject,
    RefresherSubject,
    SanitizerSubject,
    SinkSubject,
)
from proxy_core.testing.faults import OPENAI, Wire
from proxy_core.testing.pytest_plugin import PROPERTY


def every_split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``data`` in two reads, at every offset."""
    for at in range(len(data) + 1):
        yield data[:at], data[at:]


class Conformance:
    """The base of the contracts. A case that needs a sample that is not given is skipped, and says which one.

    ``deviations`` are the names of cases that the plugin fails on purpose, each with the reason: they count as such,
    until they pass.
    """

    kind: ClassVar[str] = ""
    cases: ClassVar[Sequence[Case[Any]]] = ()
    deviations: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def subject(self) -> Any:
        raise NotImplementedError

    def _check_deviations(self) -> None:
        """A misspelt one would excuse nothing, and say so nowhere."""
        names = [case.name for case in self.cases]
        for name in self.deviations.keys() - set(names):
            close = get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            pytest.fail(f"deviations: there is no case {name!r} for a {self.kind}{hint}", pytrace=False)

    def _check(self, case: Case[Any], subject: Any, request: pytest.FixtureRequest) -> None:
        told = [self.kind, type(self).__name__, case.group, case.name]
        request.node.user_properties.append((PROPERTY, told))
        if case is self.cases[0]:  # no test of its own: a class may be parametrized
            self._check_deviations()
        reason = self.deviations.get(case.name)
        try:
            asyncio.run(case.run(subject))
        except NotApplicable as missing:
            pytest.skip(str(missing))
        except Exception as error:
            if reason is not None:
                pytest.xfail(reason)
            error.add_note(f"Why this case exists: {case.why}")
            raise
        if reason is not None:
            told.append("it passes: remove it from deviations")


def _cases(cases: Sequence[Case[Any]]) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


class ProviderContract(Conformance):
    """What the functions of a provider promise by themselves; :class:`ProviderConformance` plays all faults to it.

    Subclass it as ``Test...`` with a fixture ``provider``; set ``stream_sample`` to a recorded response.
    ::

        class TestMyProvider(ProviderConformance):
            stream_sample = b"data: ..."

            @pytest.fixture
            def provider(self):
                return build_my_provider()

    The samples are complete responses in the provider's own format; a provider that speaks OpenAI's needs none.
    """

    kind = "provider"
    cases: ClassVar[Sequence[Case[Any]]] = CONTRACT_CASES
    #: A streamed response with text, and its content type. Characters of several bytes make it a better sample.
    stream_sample: bytes = b""
    stream_content_type: str = ""
    #: The response to a client that does not stream.
    plain_sample: bytes = b""
    #: A streamed response with two tool calls.
    calls_sample: bytes = b""
    #: How the upstream reports an error in a response that has status 200.
    failure_sample: bytes = b""

    @pytest.fixture
    def credential(self, provider: Provider) -> Credential:
        """Override it for another kind of credential, or one with details."""
        return ProviderSubject(provider=provider).credential()

    @pytest.fixture
    def call(self, provider: Provider) -> ProviderCall:
        return ProviderSubject(provider=provider).call()

    @pytest.fixture
    def dialects(self) -> Sequence[Dialect]:
        """Override it with the dialects of the plugin that the provider speaks."""
        return ()

    @pytest.fixture
    def subject(self, provider: Provider, credential: Credential, dialects: Sequence[Dialect]) -> ProviderSubject:
        return ProviderSubject(
            provider=provider,
            wire=self._wire(provider),
            dialects=dialects,
            kind=credential.kind,
            details=credential.details,
        )

    def _wire(self, provider: Provider) -> Wire | None:
        if not self.stream_sample:
            return OPENAI if "openai_chat" in provider.dialects else None
        return Wire(
            stream=self.stream_sample,
            stream_type=self.stream_content_type,
            plain=self.plain_sample,
            calls=self.calls_sample,
            failure=self.failure_sample,
        )

    @_cases(CONTRACT_CASES)
    def test_contract(self, case: Case[Any], subject: ProviderSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class ProviderConformance(ProviderContract):
    """A provider in the whole proxy, with every fault of the catalogue: see :class:`ProviderContract`.

    Nothing is sent: requests are answered from memory, and waits take no time.
    """

    cases: ClassVar[Sequence[Case[Any]]] = [*CONTRACT_CASES, *PROVIDER_CASES]

    @_cases(PROVIDER_CASES)
    def test_conformance(self, case: Case[Any], subject: ProviderSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class SanitizerConformance(Conformance):
    """Subclass it with a fixture ``sanitizer``. ``bodies`` are more requests that it is tried with."""

    kind = "sanitizer"
    cases: ClassVar[Sequence[Case[Any]]] = SANITIZER_CASES
    bodies: Sequence[dict[str, Any]] = ()

    @pytest.fixture
    def subject(self, sanitizer: Sanitizer) -> SanitizerSubject:
        return SanitizerSubject(sanitizer=sanitizer, bodies=self.bodies)

    @_cases(SANITIZER_CASES)
    def test_conformance(self, case: Case[Any], subject: SanitizerSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class RedactorConformance(Conformance):
    """Subclass it with a fixture ``redactor``. ``secrets`` are examples of what it must remove."""

    kind = "redactor"
    cases: ClassVar[Sequence[Case[Any]]] = REDACTOR_CASES
    secrets: Sequence[str] = ()

    @pytest.fixture
    def subject(self, redactor: Redactor) -> RedactorSubject:
        return RedactorSubject(redactor=redactor, secrets=self.secrets)

    @_cases(REDACTOR_CASES)
    def test_conformance(self, case: Case[Any], subject: RedactorSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class RefresherConformance(Conformance):
    """Subclass it with a fixture ``refresher``. ``response_sample`` is a token server's response to a refresh;
    ``details`` are those that the plugin stores with a login.
    """

    kind = "refresher"
    cases: ClassVar[Sequence[Case[Any]]] = REFRESHER_CASES
    response_sample: bytes = b""
    details: Mapping[str, str | SecretStr] = {}

    @pytest.fixture
    def subject(self, refresher: CredentialRefresher) -> RefresherSubject:
        return RefresherSubject(refresher=refresher, response=self.response_sample, details=self.details)

    @_cases(REFRESHER_CASES)
    def test_conformance(self, case: Case[Any], subject: RefresherSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class LogSinkConformance(Conformance):
    """Subclass it with a fixture ``sink``."""

    kind = "sink"
    cases: ClassVar[Sequence[Case[Any]]] = SINK_CASES

    @pytest.fixture
    def subject(self, sink: LogSink) -> SinkSubject:
        return SinkSubject(sink=sink)

    @_cases(SINK_CASES)
    def test_conformance(self, case: Case[Any], subject: SinkSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)


class DialectConformance(Conformance):
    """Subclass it with a fixture ``dialect``. ``requests`` are bodies that its clients send."""

    kind = "dialect"
    cases: ClassVar[Sequence[Case[Any]]] = DIALECT_CASES
    requests: Sequence[Mapping[str, Any]] = ()

    @pytest.fixture
    def subject(self, dialect: Dialect) -> DialectSubject:
        return DialectSubject(dialect=dialect, requests=self.requests)

    @_cases(DIALECT_CASES)
    def test_conformance(self, case: Case[Any], subject: DialectSubject, request: pytest.FixtureRequest) -> None:
        self._check(case, subject, request)
