"""One login that is kept alive: what is stored, and what is being done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy_core.credentials.stored import StoredCredential
from proxy_core.interfaces import CredentialRefresher, Provider
from proxy_core.rotation.pool import Pool

_NEVER = float("-inf")
#: A token that is refused this soon after it was given is not renewed again: the account has another problem.
_FRESH_S = 30.0
#: Suspect details are found anew once in this long: what is refused after that is right, and refused.
_SUSPECT_S = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSpec:
    """A login as settings and plugins have it. ``id`` is its fingerprint, ``read_at`` when ``stored`` was read."""

    id: str
    stored: StoredCredential
    read_at: float
    refresher: CredentialRefresher
    pool: Pool
    provider: Provider | None = None


class Login:
    """Its state, as long as the process knows it. Times are monotonic seconds."""

    def __init__(self, spec: LoginSpec) -> None:
        self.id = spec.id
        self.stored = spec.stored
        self.refresher = spec.refresher
        self.pool = spec.pool
        self.provider = spec.provider
        #: Settings do not name it any more; it stays until its renewal has ended.
        self.retired = False
        self._known_at = spec.read_at
        #: Whether a renewal that a killed process had begun was looked for.
        self.looked_for_journal = False
        self.asking_quota = False
        self.quota_at = _NEVER
        self.renewing = False
        self.renewed_at = _NEVER
        self.failures = 0
        self.again_at = _NEVER
        #: The upstream refused its token before its time, and what is being done about that.
        self.refused = False
        self.held_back = ""
        #: Details that the next renewal is not to believe.
        self.suspect_details: Sequence[str] = ()
        self._suspected_at = _NEVER
        #: What it lacks before it can be lent; whether a renewal has looked for that in vain.
        self.lacks: str | None = None
        self.sought = False
        #: Why only its owner can help, and whether that is still to be written down.
        self.ended: str | None = None
        self.to_mark = False

    def configure(self, spec: LoginSpec) -> None:
        """Other settings name it; what was learnt about it stays. What was read last is what is stored."""
        self.refresher, self.pool, self.provider, self.retired = spec.refresher, spec.pool, spec.provider, False
        if spec.read_at >= self._known_at and spec.stored != self.stored:
            self.take_over(spec.stored, spec.read_at)

    def note(self, stored: StoredCredential, now: float) -> None:
        """What is stored now, by what this process did."""
        self.stored, self._known_at = stored, now

    def take_over(self, stored: StoredCredential, now: float) -> None:
        """Other tokens, or other words about them: what was held against the old ones is forgotten."""
        self.note(stored, now)
        self.ended, self.to_mark, self.held_back, self.sought = None, False, "", False

    def renewed(self, stored: StoredCredential, now: float) -> None:
        """By us, just now."""
        self.take_over(stored, now)
        self.renewed_at, self.refused, self.suspect_details = now, False, ()

    def refuse(self, now: float, suspect_details: Sequence[str]) -> bool:
        """An upstream refused its token, or what the named details say. Whether it is to be renewed at once."""
        if self.retired or (not suspect_details and now - self.renewed_at < _FRESH_S):
            return False
        if suspect_details and not self.suspect_details:
            if now - self._suspected_at < _SUSPECT_S:
                return False
            self.suspect_details, self._suspected_at = suspect_details, now
        self.refused, self.again_at = True, _NEVER
        self.held_back = "its token was refused and is being renewed"
        if suspect_details:
            self.held_back = f"its {', '.join(suspect_details)} may be wrong and is being looked up"
        return True

    @property
    def needs_login(self) -> str | None:
        """Why somebody has to log in."""
        if self.ended is not None:
            return self.ended
        return self.stored.needs_login.why if self.stored.needs_login is not None else None

    @property
    def out(self) -> tuple[str, bool] | None:
        """Why it is not lent, and whether waiting for it is of no use; ``None`` if it is lent."""
        if (why := self.needs_login) is not None:
            return why, True
        if not self.stored.access_token.get_secret_value():
            return "it has no token yet and is being renewed", False
        if self.lacks is not None:
            return self.lacks, self.sought  # once the last renewal did not find it, nobody need wait
        return (self.held_back, False) if self.held_back else None

    def renewal_due(self, now: datetime, monotonic: float) -> bool:
        if self.renewing or self.retired or self.needs_login is not None or monotonic < self.again_at:
            return False
        return self.refused or self.lacks is not None or self.stored.due(now, self.refresher.refresh_margin_s)

    def quota_due(self, monotonic: float) -> bool:
        if self.provider is None or self.provider.quota is None or self.retired:
            return False
        usable = bool(self.stored.access_token.get_secret_value()) and self.needs_login is None
        busy = self.asking_quota or self.renewing or self.lacks is not None
        return usable and not busy and monotonic >= self.quota_at

    def waits_s(self, now: datetime, monotonic: float) -> list[float]:
        """Seconds until something may have to be done about it."""
        waits = []
        if self.quota_at > monotonic:
            waits.append(self.quota_at - monotonic)
        if self.again_at > monotonic:
            waits.append(self.again_at - monotonic)
        elif self.stored.expires_at is not None and self.needs_login is None:
            waits.append((self.stored.expires_at - now).total_seconds() - self.refresher.refresh_margin_s)
        return waits

    @property
    def name(self) -> str:
        return f"{self.stored.provider} {self.stored.name}"
