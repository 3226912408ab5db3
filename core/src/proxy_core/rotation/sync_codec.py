"""A ledger's part of the state that several processes share: to shared values and counts, and back.

Inside a process times are monotonic; in shared values they are epoch seconds. A value holds
everything about one credential for one quota group, or for every model, or about the provider as a
whole; the last one written counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from proxy_core.interfaces import Count, PermitRequest, SharedValue
from proxy_core.rotation import quota
from proxy_core.rotation.changes import PROVIDER, Scope
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import UNUSABLE, CredentialState, Window

T = TypeVar("T")
Clean = Callable[[str], str]

#: A cooldown that is over is still worth knowing: the next failure builds on it.
_KEPT_S = 3600.0
#: How long others are told that nothing cools down any more.
_OVER_S = 60.0
#: The clocks' own inaccuracy: what differs by less is the same change.
_SAME_S = 0.001
#: Windows that move by less than this are the same window.
_MINUTE_S = 60.0
#: A credential used this lately is likely to be used again.
_WARM_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The same instant on both clocks."""

    monotonic: float
    epoch: float

    def outside(self, monotonic: float) -> float:
        return self.epoch + monotonic - self.monotonic

    def inside(self, epoch: float) -> float:
        return self.monotonic + epoch - self.epoch


# --- What cools down -----------------------------------------------------------------------


def name_of(provider: str, scope: Scope) -> str:
    """``state/<provider>[/<credential>[/<group>]]``."""
    parts = [part for part in (provider, scope.credential, scope.group) if part is not None]
    return "/".join(["state", *(quote(part, safe="") for part in parts)])


def scope_of(ledger: Ledger, name: str) -> Scope | None:
    """What a value of this provider is about; ``None`` for a credential that is not here."""
    _, _, *rest = map(unquote, name.split("/"))
    if not rest:
        return PROVIDER
    return Scope(rest[0], rest[1] if len(rest) > 1 else None) if rest[0] in ledger.known else None


def written(ledger: Ledger, scope: Scope, at: float, moment: Moment, clean: Clean) -> SharedValue:
    """What ``scope`` is like now; ``at`` is when it changed. That nothing cools down is worth telling, too."""
    value: dict[str, Any] = {"at": moment.outside(at)}
    ends = [moment.epoch + _OVER_S]
    cooldown = _cooldown_of(ledger, scope)
    if cooldown is not None:
        value["cooldown"] = {
            "since": moment.outside(cooldown.since),
            "until": moment.outside(cooldown.until),
            "probe_at": moment.outside(cooldown.probe_at),
            "failed_at": moment.outside(cooldown.failed_at),
            "failures": cooldown.failures,
            "code": cooldown.code,
            "words": clean(cooldown.words),
        }
        ends.append(moment.outside(cooldown.until) + _KEPT_S)
    value |= _limits_of(ledger, scope, moment, ends)
    return SharedValue(value=json.dumps(value).encode(), expires_at=max(ends))


def _limits_of(ledger: Ledger, scope: Scope, moment: Moment, ends: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    group = ledger.groups.get(scope.group) if scope.group is not None else None
    if group is None or scope.credential is None:
        return found
    name = scope.credential
    if name in group.marks:
        found["mark"] = moment.outside(group.marks[name])
        ends.append(found["mark"] + ledger.policy.rotation.fair_cycle_s)
    if name in group.capped:
        found["capped"] = moment.outside(group.capped[name])
        ends.append(found["capped"])
    window = group.windows.get(name)
    if window is not None and window.from_provider:
        found["window"] = {"resets_at": moment.outside(window.resets_at), "limit": window.limit}
        ends.append(found["window"]["resets_at"])
    return found


def _cooldown_of(ledger: Ledger, scope: Scope) -> Cooldown | None:
    if scope.credential is None:
        return ledger.outage
    if scope.group is None:
        row = ledger.known.get(scope.credential)
        return row.cooldown if row is not None else None
    group = ledger.groups.get(scope.group)
    return group.cooldowns.get(scope.credential) if group is not None else None


def applied(ledger: Ledger, name: str, shared: SharedValue, moment: Moment) -> None:
    """Take over what another process, or this one before it was restarted, wrote; unless it is older than ours."""
    scope = scope_of(ledger, name)
    if scope is None or shared.value is None:
        return  # somebody else's, or expired
    value: Mapping[str, Any] = json.loads(shared.value)
    at = moment.inside(value["at"])
    if at <= ledger.changes.at.get(scope, -math.inf) + _SAME_S:
        return
    cooldown = _cooldown(value.get("cooldown"), moment)
    ledger.changes.at[scope] = at  # to be sent again, should the store lose it
    if scope.credential is None:
        ledger.outage = cooldown
        ledger.streak = ledger.streak if cooldown is not None else 0
        return
    row = ledger.known[scope.credential]
    if scope.group is None:
        row.cooldown = cooldown
    else:
        group = ledger.group_named(scope.group)
        _put(group.cooldowns, row.id, cooldown)
        _put(group.marks, row.id, _inside(value.get("mark"), moment))
        _put(group.capped, row.id, _inside(value.get("capped"), moment))
        window = value.get("window")
        if window is not None:
            group.windows[row.id] = Window(moment.inside(window["resets_at"]), window["limit"], from_provider=True)
    ledger.touch(row)


def _cooldown(value: Mapping[str, Any] | None, moment: Moment) -> Cooldown | None:
    if value is None:
        return None
    return Cooldown(
        since=moment.inside(value["since"]),
        until=moment.inside(value["until"]),
        probe_at=moment.inside(value["probe_at"]),
        failed_at=moment.inside(value["failed_at"]),
        failures=value["failures"],
        code=value["code"],
        words=value["words"],
    )


def _inside(epoch: float | None, moment: Moment) -> float | None:
    return moment.inside(epoch) if epoch is not None else None


def _put(record: dict[str, T], name: str, value: T | None) -> None:
    if value is None:
        record.pop(name, None)
    else:
        record[name] = value


# --- How much was used ---------------------------------------------------------------------


def count_name(provider: str, ledger: Ledger, credential: str, group: str, moment: Moment) -> tuple[str, float]:
    """Under which name a credential's requests in its present window are counted, and until when."""
    known = ledger.groups.get(group)
    window = known.windows.get(credential) if known is not None else None
    ends = window.resets_at if window is not None else ledger.window_end(moment.monotonic)
    resets_at = moment.outside(ends)
    parts = (provider, credential, group, str(round(resets_at / _MINUTE_S)))
    return "/".join(["used", *(quote(part, safe="") for part in parts)]), resets_at + _MINUTE_S


def counted(provider: str, ledger: Ledger, moment: Moment) -> Iterator[tuple[str, Count]]:
    """What was used since the last time; it is counted from now on as sent."""
    uses, ledger.changes.used = ledger.changes.used, {}
    for (credential, group), used in uses.items():
        if used:
            name, expires_at = count_name(provider, ledger, credential, group, moment)
            yield name, Count(add=used, expires_at=expires_at)


def count_applied(provider: str, ledger: Ledger, name: str, total: float, moment: Moment) -> None:
    """All processes together used this much; the provider may know of more."""
    _, _, credential, group_name, _ = map(unquote, name.split("/"))
    row = ledger.known.get(credential)
    if row is None or count_name(provider, ledger, credential, group_name, moment)[0] != name:
        return  # of a window that is over
    group = ledger.group_named(group_name)
    window = group.windows.setdefault(credential, Window(ledger.window_end(moment.monotonic)))
    used = max(0, int(total) + ledger.changes.used.get((credential, group_name), 0))
    group.used[credential] = max(used, group.used.get(credential, 0)) if window.from_provider else used
    quota.apply_limits(ledger.policy, group, row, moment.monotonic)
    ledger.touch(row)


# --- Conversations -------------------------------------------------------------------------


def sessions_written(provider: str, pool: Pool, moment: Moment) -> Iterator[tuple[str, SharedValue]]:
    """Which credential conversations have now, where that changed."""
    changes, pool.sessions.changes = pool.sessions.changes, set()
    for session in changes:
        known = pool.sessions.known(session)
        if known is not None:
            credential, at = known
            ends = moment.outside(at) + pool.sessions.ttl_s
            name = f"session/{quote(provider, safe='')}/{session}"
            yield name, SharedValue(value=credential.encode(), expires_at=ends)


def session_applied(pool: Pool, name: str, shared: SharedValue, moment: Moment) -> None:
    """Another process chose a credential for a conversation."""
    credential = shared.value.decode() if shared.value is not None else None
    if credential in pool.ledger.known:
        at = moment.inside(shared.expires_at) - pool.sessions.ttl_s
        pool.sessions.take_over(name.rpartition("/")[2], credential, at)


# --- Limits of requests at once -------------------------------------------------------------


def permits_wanted(pool: Pool, now: float, holders: int) -> dict[str, PermitRequest]:
    """What this process would like to have of each limit that all share: for what is in use and waits, one to spare.

    Where there are more processes than permits, one to spare only if the credential was used just
    now. From now on no more than that is lent, so that ``used`` is the most there can be when the
    answer comes.
    """
    found, waiting = {}, pool.waiting
    for row in pool.ledger.rows:
        if row.most == UNUSABLE:
            continue
        spare = max(waiting, row.most >= holders or now - row.last_used < _WARM_S)
        want = int(min(row.most, row.in_flight + spare))
        if row.granted > want:
            _grant(pool, row, want)
        used = max(row.in_flight, int(row.granted))
        found[row.id] = PermitRequest(want=want, limit=int(row.most), used=used)
    return found


def granted(pool: Pool, held: Mapping[str, int]) -> None:
    """How many requests may be under way here, as far as the other processes are concerned."""
    for row in pool.ledger.rows:
        if row.most != UNUSABLE:
            _grant(pool, row, held.get(row.id, 0))


def without_store(pool: Pool, holders: int) -> None:
    """Nobody can be asked: what is held is kept, and every process takes an even share, but at least one."""
    for row in pool.ledger.rows:
        if row.most != UNUSABLE:
            _grant(pool, row, max(row.granted, row.most // holders, 1))


def alone(pool: Pool) -> None:
    """There is nobody to share with."""
    for row in pool.ledger.rows:
        _grant(pool, row, UNUSABLE)


def _grant(pool: Pool, row: CredentialState, held: float) -> None:
    if row.granted != held:
        row.granted = held
        pool.ledger.touch(row)
