"""The state of one login whose token is refreshed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import inf
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.credentials.given import LEAST_BETWEEN_S
from proxy_core.credentials.stored import StoredCredential
from proxy_core.interfaces import CredentialRefresher
from proxy_core.rotation.cooldown import BACK_OFF_S, step
from proxy_core.rotation.pool import Pool

_NEVER = float("-inf")
#: A token that is rejected this soon after a refresh is not refreshed again: the account has another problem.
_FRESH_S = 30.0
#: Suspect details are looked up again at most once in this time; after that, a rejection counts.
_SUSPECT_S = 6 * 3600.0
#: A linked file that cannot be read is read again after this time: another program may be writing it.
_REREAD_S = 1.0
#: For this long, requests wait for such a file; then it is more likely to be missing than half written.
_REWRITTEN_S = 5.0
#: It takes a server this long not to answer. If the last try took long, requests do not wait for the present one.
_NO_ANSWER_S = 30.0
_LONG_S = 5.0

#: What makes a credential usable again: time alone, a login by its owner, or a setting by the operator.
Needs = Literal["time", "login", "setup"]


class LoginSpec(Struct, frozen=True, kw_only=True):
    """A login according to settings and plugins. ``id`` is its fingerprint, ``read_at`` when ``stored`` was read."""

    id: str
    stored: StoredCredential
    read_at: float
    refresher: CredentialRefresher
    pool: Pool


class Login:
    """The state of a login, as long as the process knows it. Times are monotonic seconds."""

    def __init__(self, spec: LoginSpec) -> None:
        self.id = spec.id
        self.stored = spec.stored
        self.refresher = spec.refresher
        self.pool = spec.pool
        #: Settings no longer name it; it stays until its refresh has ended.
        self.retired = False
        self._known_at = spec.read_at
        #: Whether the journal of an interrupted refresh was looked for.
        self.looked_for_journal = False
        self.refreshing = False
        self.refreshed_at = _NEVER
        self.failures = 0
        #: How long the last refresh took.
        self.took_s = 0.0
        self.again_at = _NEVER
        #: Whether the upstream rejected its token before its expiry, so that a refresh is due.
        self.rejected = False
        self.held_back = ""
        #: Why the last refresh failed, and the server of which an answer is awaited.
        self.trouble = ""
        self._unreadable_since = inf
        self.asking = ""
        #: The server that the last refresh asked last.
        self.asked = ""
        #: Details that the next refresh must not reuse.
        self.suspect_details: Sequence[str] = ()
        self._suspected_at = _NEVER
        #: What it lacks before it can be leased; whether a refresh has failed to find that.
        self.lacks: str | None = None
        self.sought = False
        #: Why only its owner can fix it, and whether that still has to be recorded.
        self.ended: str | None = None
        self.to_mark = False
        #: What the operator has to set up before it can be refreshed.
        self.setup = ""
        #: Consecutive refreshes that brought a token which was due again at once.
        self.useless = 0

    def configure(self, spec: LoginSpec) -> None:
        """Apply new settings; its state stays. What was read last is what is stored."""
        self.refresher, self.pool, self.retired = spec.refresher, spec.pool, False
        if self.setup:
            self.setup, self.again_at = "", _NEVER  # the new settings may have what was missing
        if spec.stored.problem:
            self.stored = replace(self.stored, problem=spec.stored.problem)
        elif spec.read_at >= self._known_at and spec.stored != self.stored:
            self.take_over(spec.stored, spec.read_at)

    def note(self, stored: StoredCredential, now: float) -> None:
        """Record what this process has stored."""
        self.stored, self._known_at = stored, now

    def take_over(self, stored: StoredCredential, now: float) -> None:
        """Take over different tokens or metadata: failures of the old ones are dropped."""
        self.note(stored, now)
        self.ended, self.to_mark, self.sought, self.held_back, self.trouble, self.setup = None, False, False, "", "", ""
        self._unreadable_since = inf

    def refreshed(self, stored: StoredCredential, now: float, *, renewed: bool) -> None:
        """Record a refresh by this process; ``renewed``: it was more than a look-up.

        Its token does not tell: a reload may have read the new one from the disk already.
        """
        if renewed:
            self.refreshed_at = now
        self.take_over(stored, now)
        self.rejected, self.suspect_details = False, ()

    def pace(self, now: datetime, monotonic: float) -> float | None:
        """Set the earliest time of the next refresh; returns the wait in seconds if the new token is due at once.

        A token that lives for less than the refresh margin is used for half of its lifetime.
        """
        ends, self.again_at = self.stored.expires_at, self.refreshed_at + LEAST_BETWEEN_S
        if not self.stored.due(now, self.refresher.refresh_margin_s):
            self.useless = 0
            return None
        half_s = (ends - now).total_seconds() / 2 if ends is not None else 0.0
        if half_s >= LEAST_BETWEEN_S:
            self.useless, self.again_at = 0, monotonic + half_s
            return None
        self.useless += 1
        wait_s = step(BACK_OFF_S, self.useless)
        self.again_at = monotonic + wait_s
        return wait_s

    def reject(self, now: float, suspect_details: Sequence[str]) -> bool:
        """An upstream rejected its token, or the named details. Returns whether to refresh it at once."""
        if self.retired or (not suspect_details and now - self.refreshed_at < _FRESH_S):
            return False
        if suspect_details and not self.suspect_details:
            if now - self._suspected_at < _SUSPECT_S:
                return False
            self.suspect_details, self._suspected_at = suspect_details, now
        self.rejected, self.again_at = True, _NEVER
        self.held_back = "its token was rejected and is being refreshed"
        if suspect_details:
            self.held_back = f"its {', '.join(suspect_details)} may be wrong and is being looked up"
        return True

    @property
    def needs_login(self) -> str | None:
        """Why the user has to log in."""
        if self.ended is not None:
            return self.ended
        return self.stored.needs_login.why if self.stored.needs_login is not None else None

    def unavailable(self, now: datetime) -> tuple[str, Needs] | None:
        """Why it cannot be leased, and what it needs; ``None`` if it can be leased."""
        if (why := self.needs_login) is not None:
            return why, "login"
        token, ends = self.stored.access_token.get_secret_value(), self.stored.expires_at
        unusable = not token or self.rejected or (ends is not None and ends <= now)
        if unusable and self.stored.problem:
            why = f"its file {self.stored.problem}; it is read again every second"
            return f"{why}; if that does not help, log in with the program that it belongs to", "time"
        if unusable and self.setup:
            return self.setup, "setup"
        if self.lacks is not None and self.sought:
            return self.lacks, "login"  # its account is at fault, not this proxy
        return self._waiting_for(unusable)

    def _waiting_for(self, unusable: bool) -> tuple[str, Needs] | None:
        """What is known of the refresh that it waits for."""
        why = self.held_back or self.lacks or ""
        if unusable or self.lacks is not None:
            why = self.trouble or why
        if not self.stored.access_token.get_secret_value():
            why = why or "it has no token yet and is being refreshed"
        if self.asking and (why or unusable):
            why = f"{why or 'its token is being refreshed'}; {self.asking} has not answered yet"
        return (why, "time") if why else None

    def expected_at(self, monotonic: float) -> float:
        """The earliest time at which a login that is being refreshed may be usable."""
        if self.stored.problem:
            self._unreadable_since = min(self._unreadable_since, monotonic)
            soon = monotonic - self._unreadable_since < _REWRITTEN_S
            return _NEVER if soon else monotonic + _NO_ANSWER_S
        if self.refreshing and self.failures and self.took_s > _LONG_S:
            return monotonic + _NO_ANSWER_S
        return _NEVER if self.refreshing else self.again_at

    @property
    def remark(self) -> str:
        """What the operator should know although the credential may still be usable."""
        if self.stored.problem:
            return f"its file {self.stored.problem}; until it can be read again, the tokens last read from it are used"
        return f"it cannot be refreshed: {self.setup}" if self.setup else self.trouble

    def refresh_due(self, now: datetime, monotonic: float) -> bool:
        if self.refreshing or self.retired or self.needs_login is not None or monotonic < self.again_at:
            return False
        if self.stored.problem:
            return False
        if self.stored.due(now, self.refresher.refresh_margin_s):
            return monotonic >= self.refreshed_at + LEAST_BETWEEN_S  # whatever its file says
        return self.rejected or self.lacks is not None

    def waits_s(self, now: datetime, monotonic: float) -> list[float]:
        """Seconds until each possible action."""
        moments_at = (self.again_at, self.refreshed_at + LEAST_BETWEEN_S)
        waits = [at - monotonic for at in moments_at if at > monotonic]
        if self.stored.problem:
            return [*waits, _REREAD_S]
        if self.stored.expires_at is not None and self.needs_login is None:
            left_s = (self.stored.expires_at - now).total_seconds()
            moments = [left_s] if self.again_at > monotonic else [left_s - self.refresher.refresh_margin_s]
            waits += [wait_s for wait_s in moments if wait_s > 0 or self.again_at <= monotonic]
        return waits

    @property
    def name(self) -> str:
        return self.stored.full_name
