"""Choosing among credentials, renewing them, getting new ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from proxy_core.interfaces.providers import HttpClient
from proxy_core.interfaces.requests import Credential, ProxyRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A usable credential, as a selector sees it.

    ``used`` counts requests for the model (or its quota group) in the current quota window, those in
    flight included. ``limit`` is what the provider allows in that window and ``resets_in_s`` when it
    ends, in seconds; ``None`` where the provider has not said. ``last_used`` is monotonic seconds.
    """

    credential: Credential
    in_flight: int
    used: int
    last_used: float
    limit: float | None = None
    resets_in_s: float | None = None


class Candidates(Protocol):
    """The usable credentials of the best priority, in the order of settings; never empty.

    Where settings name an optimal concurrency, only the least busy of them. Iterating makes a
    :class:`Candidate` of each; the other members cost the same however many there are.
    """

    def __iter__(self) -> Iterator[Candidate]: ...
    @property
    def first(self) -> Candidate: ...
    @property
    def last(self) -> Candidate | None:
        """The one chosen before for this model or quota group, if it is among them."""
        ...

    @property
    def of_session(self) -> Candidate | None:
        """The one this conversation had before, if it is among them. Asking makes the pool remember the choice."""
        ...

    def least_used(self) -> Candidate:
        """One that is at most ``rotation.tolerance`` requests ahead of the least used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Picks among usable credentials: a pure function. Settings choose one by ``name``.

    ``preferred_concurrency`` and ``fair_cycle`` are what ``[providers.<name>.rotation]`` means by
    leaving them unset.
    """

    name: str
    select: Callable[[Candidates, ProxyRequest], Candidate]
    preferred_concurrency: int | None = None
    fair_cycle: bool = False


class TransportFailed(Exception):
    """No answer came. ``sent``: the request may have reached the other side."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class LoginRequired(Exception):
    """The credential is no longer accepted and renewing it cannot help; the message says how to log in again."""


class RetryRefresh(Exception):
    """The token server cannot now: again after ``retry_after_s``, else the core's own back-off.

    ``back_off_s`` replaces that: seconds after the first failure in a row, the second and so on; the last stays.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, back_off_s: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.back_off_s = back_off_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a token server gave. ``refresh_token=None`` keeps the old one; ``details`` are added to the old."""

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    tier: str | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)


#: With a browser on this machine; by pasting what a browser elsewhere shows; by typing a code in elsewhere.
LoginMethod = Literal["browser", "paste", "device"]


class LoginPrompt(Protocol):
    """Talking to whoever logs in, on a plain terminal."""

    @property
    def way(self) -> LoginMethod | None:
        """The one that was asked for, among ``CredentialRefresher.login_methods``; ``None``: whichever is best here."""
        ...

    @property
    def headless(self) -> bool:
        """There is no browser here that could reach this machine."""
        ...

    def say(self, text: str) -> None: ...
    async def ask(self, question: str, *, secret: bool = False) -> str: ...
    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        """Print the address, open it where there is a browser; ``code`` is to be typed in there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """How another program keeps its login: for import and for sharing one file with it.

    ``read`` raises ``ValueError`` for what is not such a file; ``write`` gives the file's new
    bytes from its old ones and keeps what it does not know. ``paths`` are where it usually is.
    ``lock`` is the path of the lock that program takes, from the file's path. ``owner`` finds out
    whose login it is, from files beside it, where the file itself does not say.
    """

    name: str
    read: Callable[[bytes], Tokens]
    write: Callable[[bytes, Credential], bytes] | None = None
    paths: Sequence[str] = ()
    lock: Callable[[Path], Path] | None = None
    owner: Callable[[Path], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStore:
    """Where another program keeps its login if not in a file: a system's keychain. Its tokens can only be copied.

    ``read`` may block, while the system asks whether it is allowed; it raises ``ValueError`` saying what
    is missing, a library say.
    """

    name: str
    read: Callable[[], Tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRefresher:
    """Renews the credentials of one ``kind`` and knows how to get new ones. The core does everything else:
    when, one at a time across processes and machines, journal, files, back-off.

    ``refresh`` raises ``LoginRequired`` or ``RetryRefresh``; whatever else it raises counts as the latter.
    ``refresh_margin_s``: how long before its end a token is renewed. ``login`` talks to a person.
    ``incomplete_reason`` says what a credential still lacks before it can be lent and ``refresh`` may find out
    (a project); ``None``: nothing. ``environment``: the stateless form, ``<PREFIX>_<n>_ACCESS_TOKEN``
    and so on. ``stores`` are asked where none of the ``files`` is there.
    ``notice`` is shown before a login: what the vendor's terms say and what is at risk.
    ``login_methods`` are those in which ``login`` can go, if a person may choose; it reads ``LoginPrompt.way``.
    """

    kind: str
    refresh: Callable[[Credential, HttpClient], Awaitable[Tokens]]
    login: Callable[[LoginPrompt, HttpClient], Awaitable[Tokens]] | None = None
    test: Callable[[Credential, HttpClient], Awaitable[str]] | None = None
    files: Sequence[TokenFile] = ()
    stores: Sequence[TokenStore] = ()
    incomplete_reason: Callable[[Credential], str | None] | None = None
    environment: str | None = None
    refresh_margin_s: float = 300.0
    notice: str = ""
    login_methods: Sequence[LoginMethod] = ()
