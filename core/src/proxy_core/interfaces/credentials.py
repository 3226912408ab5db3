"""Choosing among credentials, refreshing their tokens, logging in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core.interfaces.providers import HttpClient
from proxy_core.interfaces.requests import Credential, ProxyRequest

__all__ = [
    "Candidate",
    "Candidates",
    "CredentialRefresher",
    "ForeignLock",
    "LoginFailed",
    "LoginMethod",
    "LoginPrompt",
    "LoginRequired",
    "RetryRefresh",
    "Selector",
    "SetupRequired",
    "TokenFile",
    "TokenStore",
    "Tokens",
    "TransportFailed",
]


class Candidate(Struct, frozen=True, kw_only=True):
    """A usable credential, as a selector sees it.

    ``used`` counts requests for the model (or its quota group) in the current quota window, those in
    flight included. ``limit`` is what the provider, or else a cap from settings, allows in that window and
    ``resets_in_s`` when it ends, in seconds; ``None`` where neither says so. Of several windows it is the one with the
    least left. ``last_used`` is monotonic seconds.
    """

    credential: Credential
    in_flight: int
    used: int
    last_used: float
    limit: float | None = None
    resets_in_s: float | None = None


class Candidates(Protocol):
    """The usable credentials of the best priority, in the order of the settings; never empty.

    If the settings have a preferred concurrency, only the least busy of them. Iterating creates a
    :class:`Candidate` for each; the cost of the other members does not depend on how many there are.
    """

    def __iter__(self) -> Iterator[Candidate]: ...
    @property
    def first(self) -> Candidate: ...
    @property
    def last(self) -> Candidate | None:
        """The previous choice for this model or quota group, if it is a candidate."""
        ...

    @property
    def of_session(self) -> Candidate | None:
        """The previous choice for this session, if it is a candidate. Reading it makes the pool remember the choice."""
        ...

    def least_used(self) -> Candidate:
        """A candidate that has served at most ``rotation.tolerance`` requests more than the least used one."""
        ...


class Selector(Struct, frozen=True, kw_only=True):
    """Chooses among usable credentials: a pure function. Settings select it by ``name``.

    ``preferred_concurrency`` and ``fair_cycle`` are the defaults for the settings of the same names in
    ``[providers.<name>.rotation]``.
    """

    name: str
    select: Callable[[Candidates, ProxyRequest], Candidate]
    preferred_concurrency: int | None = None
    fair_cycle: bool = False


class TransportFailed(Exception):
    """There was no response. ``sent``: the request may have reached the server."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class LoginFailed(Exception):
    """A login failed; the message is for the user."""


class LoginRequired(Exception):
    """The credential is no longer accepted, and a refresh cannot help; the message says how to log in again."""


class SetupRequired(Exception):
    """Neither waiting nor a new login helps: the operator has to set something up, for example an OAuth client.

    The message says what is missing and what fixes it. The core tries again after a reload, and every ten minutes.
    """


class RetryRefresh(Exception):
    """The token server cannot serve the refresh now; retry after ``retry_after_s``, or else after a back-off.

    ``back_off_s`` replaces the core's back-off: seconds after the first consecutive failure, the second and so on;
    the last value applies to all further failures.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, back_off_s: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.back_off_s = back_off_s


class Tokens(Struct, frozen=True, kw_only=True):
    """The result of a login or refresh. ``refresh_token=None`` keeps the old one; ``details`` are merged.

    ``expires_at`` is UTC; ``None`` if it is not known, and then the token is used until it is rejected.
    ``unfinished``: why a refresh could not find out now what the credential still lacks, if a later one may.
    """

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    tier: str | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)
    unfinished: str = ""


#: In a browser on this machine; by pasting the result from a browser elsewhere; by entering a code on another device.
LoginMethod = Literal["browser", "paste", "device"]


class LoginPrompt(Protocol):
    """Interaction with the user who logs in, on a plain terminal."""

    @property
    def method(self) -> LoginMethod | None:
        """The method that the user chose from ``CredentialRefresher.login_methods``; ``None``: the best one here."""
        ...

    @property
    def headless(self) -> bool:
        """Whether there is no browser that could reach this machine."""
        ...

    def say(self, text: str) -> None: ...
    async def ask(self, question: str, *, secret: bool = False) -> str: ...
    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        """Print the URL, and open it if there is a browser; the user has to enter ``code`` there."""
        ...


class ForeignLock(Protocol):
    """Another program's lock. ``release`` may be called without holding it.

    Of the processes of proxies on one machine, one at a time tries to acquire it: it has another lock by then.
    """

    path: Path

    def try_acquire(self) -> bool: ...
    def release(self) -> None: ...


class TokenFile(Struct, frozen=True, kw_only=True):
    """The format in which another program stores its login, for importing it and for sharing the file.

    ``read`` raises ``ValueError`` if the file has another format. ``write`` returns the file's new bytes,
    given its old ones, and preserves unknown fields. ``paths`` are the usual paths. ``lock`` returns the lock
    that the program uses, given the file's path. ``owner`` determines the account from
    neighbouring files if the file itself does not contain it.
    """

    name: str
    read: Callable[[bytes], Tokens]
    write: Callable[[bytes, Credential], bytes] | None = None
    paths: Sequence[str] = ()
    lock: Callable[[Path], ForeignLock] | None = None
    owner: Callable[[Path], str | None] | None = None


class TokenStore(Struct, frozen=True, kw_only=True):
    """Where another program stores its login if not in a file: the system's keychain. Tokens can only be copied.

    ``read`` may block while the system asks the user for permission; it raises ``ValueError`` that says what
    is missing, for example a library.
    """

    name: str
    read: Callable[[], Tokens]


class CredentialRefresher(Struct, frozen=True, kw_only=True):
    """Refreshes the credentials of one ``kind``, and can log in to get new ones. The core does everything else:
    it decides when, runs one refresh at a time across processes and machines, and handles journal, files and back-off.

    ``refresh`` raises ``LoginRequired``, ``SetupRequired`` or ``RetryRefresh``; anything else that it raises counts as
    ``RetryRefresh``. No credential is refreshed twice within ten seconds, whatever lifetime its tokens have.
    ``rotates``: a refresh may replace the refresh token, so a shutdown waits for its response.
    ``refresh_margin_s``: how long before its expiry a token is refreshed. ``login`` interacts with a user,
    and raises ``LoginFailed`` with a message for that user.
    ``incomplete_reason`` says what a credential still lacks before it can be leased, and ``refresh`` may obtain
    (a project); ``None``: nothing. ``environment`` is the prefix of the stateless form,
    ``<PREFIX>_<n>_ACCESS_TOKEN`` and so on; ``details`` are the names of its own that it reads there.
    ``stores`` are read if none of the ``files`` exists.
    ``notice`` is shown before a login: what the vendor's terms say, and what is at risk.
    ``servers`` are the URLs to which it sends tokens, shown at the start.
    ``login_methods`` are those that the user may choose from; ``login`` reads the choice from ``LoginPrompt.method``.
    """

    kind: str
    refresh: Callable[[Credential, HttpClient], Awaitable[Tokens]]
    login: Callable[[LoginPrompt, HttpClient], Awaitable[Tokens]] | None = None
    test: Callable[[Credential, HttpClient], Awaitable[str]] | None = None
    files: Sequence[TokenFile] = ()
    stores: Sequence[TokenStore] = ()
    incomplete_reason: Callable[[Credential], str | None] | None = None
    environment: str | None = None
    details: Sequence[str] = ()
    rotates: bool = True
    refresh_margin_s: float = 300.0
    notice: str = ""
    login_methods: Sequence[LoginMethod] = ()
    servers: Sequence[str] = ()
