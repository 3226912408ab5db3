"""Converts the shared part of a ledger to shared values and counts, and back.

Inside a process times are monotonic; in shared values they are epoch seconds. A value describes
one credential for one quota group, one credential for every model, or the whole provider; the
last write wins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from msgspec.structs import asdict

from proxy_core import errors
from proxy_core.clock import Instant
from proxy_core.errors import ErrorFacts, ProxyError
from proxy_core.interfaces import Count, PermitRequest, SharedValue
from proxy_core.rotation import pace, quota
from proxy_core.rotation.changes import PROVIDER, Scope, summed
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, Window, put

Clean = Callable[[str], str]

#: How long an ended cooldown is kept: the next failure escalates from it.
_KEPT_S = 3600.0
#: How long the news that nothing is cooling down is kept for other processes.
_OVER_S = 60.0
#: The inaccuracy of the clocks: changes closer together than this are the same change.
_SAME_S = 0.001
_FACTS = ErrorFacts.__struct_fields__
#: How long the count of a window is kept after its end, as other processes may learn of the end later.
_MINUTE_S = 60.0
#: A credential used this recently is likely to be used again.
_WARM_S = 1.0


# --- Cooldowns -----------------------------------------------------------------------------


def name_of(provider: str, scope: Scope) -> str:
    """``state/<provider>[/<credential>[/<group>[/<model>]]]``, or ``report/<provider>/<credential>/<group>``."""
    parts = [part for part in (provider, scope.credential, scope.group, scope.model) if part is not None]
    return "/".join(["report" if scope.reported else "state", *(quote(part, safe="") for part in parts)])


def scope_of(ledger: Ledger, name: str) -> Scope | None:
    """The scope of a shared value of this provider; ``None`` for a credential that this process does not have."""
    kind, _, *rest = map(unquote, name.split("/"))
    if not rest:
        return PROVIDER
    credential, group, model = (*rest, None, None)[:3]
    return Scope(credential, group, model, reported=kind == "report") if credential in ledger.known else None


def written(ledger: Ledger, scope: Scope, at: float, instant: Instant, clean: Clean) -> SharedValue:
    """The current state of ``scope``, which changed at ``at``. The end of a cooldown is shared as well."""
    value: dict[str, Any] = {"at": instant.to_epoch(at)}
    ends = [instant.epoch + _OVER_S]
    cooldown = _cooldown_of(ledger, scope) if not scope.reported else None
    if cooldown is not None:
        value["cooldown"] = {
            "since": instant.to_epoch(cooldown.since),
            "until": instant.to_epoch(cooldown.until),
            "probe_at": instant.to_epoch(cooldown.probe_at),
            "failed_at": instant.to_epoch(cooldown.failed_at),
            "failures": cooldown.failures,
            "ends_at": None if cooldown.ends_at is None else instant.to_epoch(cooldown.ends_at),
            "told": _cleaned(cooldown.told, clean),
        }
        ends.append(instant.to_epoch(cooldown.until) + _KEPT_S)
    value |= _limits_of(ledger, scope, instant, ends)
    return SharedValue(value=json.dumps(value).encode(), expires_at=max(ends))


def _cleaned(told: ErrorFacts, clean: Clean) -> dict[str, Any]:
    """An upstream may repeat a secret in any of its words, its error code included; the kind is our own word.

    Where no redactor is installed nothing of them is stored, and other processes tell clients so. Our own words are.
    """
    facts = asdict(told)
    ours = {"message", "cause"} if told.own_words else ()
    for name, instead in _NOT_STORED.items():
        if facts[name] and facts[name] not in _OWN_CODES and name not in ours:
            facts[name] = clean(facts[name]) or instead
    return facts


_OWN_CODES = frozenset(
    one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ProxyError)
)
_NOT_STORED: Mapping[str, str | None] = {
    **dict.fromkeys(("code", "param", "type", "upstream_code")),
    "cause": "",
    "message": "The upstream refused this before; its words are not stored, because no redactor is installed.",
}


def _limits_of(ledger: Ledger, scope: Scope, instant: Instant, ends: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    group = ledger.groups.get(scope.group) if scope.group is not None else None
    if group is None or scope.credential is None or scope.model is not None:
        return found
    name = scope.credential
    if name in group.marks and not scope.reported:
        found["mark"] = instant.to_epoch(group.marks[name])
        ends.append(found["mark"] + ledger.policy.rotation.fair_cycle_s)
    if name in group.capped and not scope.reported:
        found["capped"] = instant.to_epoch(group.capped[name])
        ends.append(found["capped"])
    window = group.windows.get(name)
    anywhere = not scope.reported and quota.begins_anywhere(ledger.policy.window_of(group.name))
    if window is not None and (anywhere or window.from_provider == scope.reported):
        found["window"] = {
            "resets_at": instant.to_epoch(window.resets_at),
            "limit": window.limit,
            "from_provider": window.from_provider,
            "number": window.number,
            "used": group.used.get(name, 0) if window.from_provider else 0,
        }
        ends.append(found["window"]["resets_at"])
    return found


def _cooldown_of(ledger: Ledger, scope: Scope) -> Cooldown | None:
    if scope.credential is None:
        return ledger.outage
    if scope.group is None:
        row = ledger.known.get(scope.credential)
        return row.cooldown if row is not None else None
    group = ledger.groups.get(scope.group)
    if group is None:
        return None
    return (group.cooldowns if scope.model is None else group.of(scope.model)).get(scope.credential)


def applied(ledger: Ledger, name: str, shared: SharedValue, instant: Instant) -> None:
    """Apply a value that another process wrote, or this one before a restart, unless ours is newer."""
    scope = scope_of(ledger, name)
    if scope is None or shared.value is None:
        return  # another process's credential, or expired
    value: Mapping[str, Any] = json.loads(shared.value)
    at = instant.to_monotonic(value["at"])
    if at <= ledger.changes.at.get(scope, -math.inf) + _SAME_S:
        return
    cooldown = _cooldown(value.get("cooldown"), instant)
    ledger.changes.at[scope] = at  # sent again if the store loses it
    if scope.credential is None:
        ledger.outage = cooldown
        ledger.streak = ledger.streak if cooldown is not None else 0
        return
    row = ledger.known[scope.credential]
    if scope.group is None:
        row.cooldown = cooldown
    elif scope.model is not None:
        ledger.group_named(scope.group).put(scope.model, row.id, cooldown)
    else:
        group = ledger.group_named(scope.group)
        if not scope.reported:
            put(group.cooldowns, row.id, cooldown)
            put(group.marks, row.id, _to_monotonic(value.get("mark"), instant))
            put(group.capped, row.id, _to_monotonic(value.get("capped"), instant))
        if value.get("window") is not None:
            _window_applied(ledger, scope, group, value["window"], instant)
    ledger.touch(row)


def _window_applied(
    ledger: Ledger, scope: Scope, group: QuotaGroup, value: Mapping[str, Any], instant: Instant
) -> None:
    """Of a window that began with requests in two processes at once, the earlier end applies in both."""
    name = scope.credential or ""
    resets_at, from_provider = instant.to_monotonic(value["resets_at"]), value.get("from_provider", True)
    told = Window(resets_at, value["limit"], from_provider, value.get("number"))
    if told.resets_at <= instant.monotonic:
        return  # the one that is open now may have begun here
    ours = group.windows.get(name)
    if not told.from_provider and ours is not None and instant.monotonic < ours.resets_at < told.resets_at - _SAME_S:
        ledger.changes.changed(scope, instant.monotonic)
    else:
        group.windows[name] = told
        if told.from_provider:
            same = ours is not None and abs(ours.resets_at - told.resets_at) < _MINUTE_S
            group.used[name] = max(group.used.get(name, 0) if same else 0, value.get("used", 0))
            quota.apply_limits(ledger.policy, group, ledger.known[name], instant.monotonic)


def _cooldown(value: Mapping[str, Any] | None, instant: Instant) -> Cooldown | None:
    if value is None or "told" not in value:  # written by another version
        return None
    return Cooldown(
        since=instant.to_monotonic(value["since"]),
        until=instant.to_monotonic(value["until"]),
        probe_at=instant.to_monotonic(value["probe_at"]),
        failed_at=instant.to_monotonic(value["failed_at"]),
        failures=value["failures"],
        told=ErrorFacts(**{name: value["told"][name] for name in _FACTS if name in value["told"]}),
        ends_at=_to_monotonic(value["ends_at"], instant),
    )


def _to_monotonic(epoch: float | None, instant: Instant) -> float | None:
    return instant.to_monotonic(epoch) if epoch is not None else None


# --- Usage ---------------------------------------------------------------------------------


def _count_name(provider: str, credential: str, group: str, window: int) -> str:
    return f"used/{_quoted(provider)}/{_quoted(credential)}/{_quoted(group)}/{window}"


@lru_cache(maxsize=8192)
def _quoted(name: str) -> str:
    """Cached, as every request is counted under the same names."""
    return quote(name, safe="")


def counted(provider: str, ledger: Ledger, instant: Instant) -> Iterator[tuple[str, Count]]:
    """The requests counted since the last call; from now on they are regarded as sent."""
    uses, ledger.changes.used = ledger.changes.used, {}
    for (credential, group, number), used in uses.items():
        if used:
            known = ledger.groups[group].windows.get(credential) if group in ledger.groups else None
            open_still = known is not None and known.number == number
            ends = instant.to_epoch(known.resets_at) if known is not None and open_still else instant.epoch
            kept_s = _MINUTE_S + (known.slides_s or 0.0 if known is not None else 0.0)
            yield _count_name(provider, credential, group, number), Count(add=used, expires_at=ends + kept_s)
    spell = pace.spell(instant.epoch)
    for (credential, group), used in summed(uses).items():
        if used and ledger.policy.parts_of(group)[0] == group:  # further windows have the pace of the main one
            name = f"pace/{_quoted(provider)}/{_quoted(credential)}/{_quoted(group)}/{spell}"
            yield name, Count(add=used, expires_at=(spell + 1) * pace.SPELL_S + _KEPT_S)


def count_applied(provider: str, ledger: Ledger, name: str, total: float, instant: Instant) -> None:
    """Apply the total of all processes; the provider may have reported more."""
    _, _, credential, group_name, number = map(unquote, name.split("/"))
    row, known, now = ledger.known.get(credential), ledger.groups.get(group_name), instant.monotonic
    if row is None:
        return
    if known is not None:
        quota.expire(known, row, now)
    window = known.windows.get(credential) if known is not None else None
    window = window or ledger.window_open(group_name, now)
    before = window.slides_s is not None and window.number is not None and str(window.number - 1) == number
    if str(window.number) != number and not before:
        return  # the window has ended
    group = ledger.group_named(group_name)
    group.windows[credential] = window
    used = max(0, int(total) + ledger.changes.used.get((credential, group_name, int(number)), 0))
    if before:
        window.before = used
    else:
        group.used[credential] = max(used, group.used.get(credential, 0)) if window.from_provider else used
    quota.apply_limits(ledger.policy, group, row, now)
    ledger.touch(row)


def pace_applied(ledger: Ledger, name: str, total: float, instant: Instant) -> None:
    """Apply the total of all processes in one spell."""
    _, _, credential, group_name, number = map(unquote, name.split("/"))
    if credential in ledger.known:
        spells = ledger.group_named(group_name).spells
        counted = {**spells.get(credential, {}), int(number): total}
        spells[credential] = pace.recent(counted, instant.epoch)


# --- Conversations -------------------------------------------------------------------------


def sessions_written(provider: str, pool: Pool, instant: Instant) -> Iterator[tuple[str, SharedValue]]:
    """The conversations whose credential changed, with their current credential."""
    changes, pool.sessions.changes = pool.sessions.changes, set()
    for session in changes:
        known = pool.sessions.known(session)
        if known is not None:
            credential, at = known
            ends = instant.to_epoch(at) + pool.sessions.ttl_s
            name = f"session/{quote(provider, safe='')}/{session}"
            yield name, SharedValue(value=credential.encode(), expires_at=ends)


def session_applied(pool: Pool, name: str, shared: SharedValue, instant: Instant) -> None:
    """Apply another process's choice of a credential for a conversation."""
    credential = shared.value.decode() if shared.value is not None else None
    if credential in pool.ledger.known:
        at = instant.to_monotonic(shared.expires_at) - pool.sessions.ttl_s
        pool.sessions.take_over(name.rpartition("/")[2], credential, at)


# --- Permits for concurrent requests --------------------------------------------------------


def permits_wanted(pool: Pool, now: float, holders: int) -> dict[str, PermitRequest]:
    """The permits that this process requests for each shared limit: those in use, those waited for, and one to spare.

    If there are more processes than permits, it requests a spare one only for a credential in recent
    use. Until the response arrives, no more than the requested number is lent, so ``used`` is an upper
    bound.
    """
    found, waiting = {}, pool.waiting
    for row in pool.ledger.rows:
        if row.max_concurrent == UNUSABLE:
            continue
        spare = max(waiting, row.max_concurrent >= holders or now - row.last_used < _WARM_S)
        want = int(min(row.max_concurrent, row.in_flight + spare))
        if row.granted > want:
            _grant(pool, row, want)
        used = max(row.in_flight, int(row.granted))
        found[row.id] = PermitRequest(want=want, limit=int(row.max_concurrent), used=used)
    return found


def granted(pool: Pool, held: Mapping[str, int]) -> None:
    """Apply the number of concurrent requests that this process was granted per credential."""
    for row in pool.ledger.rows:
        if row.max_concurrent != UNUSABLE:
            _grant(pool, row, held.get(row.id, 0))


def without_store(pool: Pool, holders: int) -> None:
    """The store is unreachable: keep what is held, but at least an equal share of each limit and at least one."""
    for row in pool.ledger.rows:
        if row.max_concurrent != UNUSABLE:
            _grant(pool, row, max(row.granted, row.max_concurrent // holders, 1))


def alone(pool: Pool) -> None:
    """No other process shares the limits."""
    for row in pool.ledger.rows:
        _grant(pool, row, UNUSABLE)


def _grant(pool: Pool, row: CredentialState, held: float) -> None:
    if row.granted != held:
        row.granted = held
        pool.ledger.touch(row)
