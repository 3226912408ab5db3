"""Finds recent requests, and says how long those of one kind took. Pure; ten thousand take some milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import RecentRequest, RequestRecord

#: The ratio of two neighbouring durations of ``durations``.
STEP = 1.1
_SHORTEST_S = 0.001


class Search(Struct, frozen=True, kw_only=True):
    """What to look for; an empty field matches everything.

    ``q``: words that all occur somewhere. The other texts are whole values, but ``status`` may be a class (``4xx``) and
    ``deployment`` a provider. ``since`` is the first day (UTC); ``before``: only requests that ended before this (epoch
    seconds).
    """

    q: str = ""
    client: str = ""
    model: str = ""
    deployment: str = ""
    credential: str = ""
    outcome: str = ""
    status: str = ""
    since: date = date.min
    before: float = math.inf

    def matches(self, record: RequestRecord) -> bool:
        decisive = record.decisive
        deployment, credential = (decisive.deployment, decisive.credential) if decisive is not None else ("", "")
        return (
            self.client in ("", record.client)
            and self.model in ("", record.model)
            and self.deployment in ("", deployment, deployment.partition("/")[0])
            and self.credential in ("", credential)
            and self.outcome in ("", record.outcome)
            and self.status in ("", str(record.status), f"{record.status // 100}xx")
            and (not self.q or _has(self.q, record, deployment, credential))
            and record.started_at.date() >= self.since
            and ended_at(record) < self.before
        )


def _has(q: str, record: RequestRecord, deployment: str, credential: str) -> bool:
    of = (record.id, record.client, record.model, deployment, credential, record.dialect, record.error or "")
    text = " ".join((*of, str(record.status), record.outcome)).lower()
    return all(word in text for word in q.lower().split())


def ended_at(record: RequestRecord | RecentRequest) -> float:
    return record.started_at.timestamp() + record.duration_s


def brief(record: RequestRecord, cost: float | None, clean: Callable[[str], str]) -> RecentRequest:
    """``clean`` removes secrets from what the client chose: an id or a model's name may be a key by mistake."""
    decisive = record.decisive
    return RecentRequest(
        id=clean(record.id),
        client=record.client,
        dialect=record.dialect,
        model=clean(record.model),
        deployment=decisive.deployment if decisive is not None else None,
        credential=decisive.credential if decisive is not None else None,
        attempts=len(record.attempts),
        stream=record.stream,
        status=record.status,
        outcome=record.outcome,
        error=record.error,
        started_at=record.started_at,
        first_event_s=record.first_event_s,
        duration_s=record.duration_s,
        usage=replace(record.usage, extra={}) if record.usage is not None else None,
        cost=cost,
    )


# --- How long they took ------------------------------------------------------------------


def grouped(records: Iterable[RequestRecord], by: Sequence[str]) -> list[dict[str, Any]]:
    """For each value of ``by``: the number of requests, of failed ones, and how many took how long.

    ``durations`` and ``first_events`` map the exponent of :data:`STEP`, in milliseconds and rounded up, to a number of
    requests, so several processes' can be added.
    """
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        values = _values(record)
        key = tuple(values[name] for name in by)
        group = groups.get(key)
        if group is None:
            blank = {"requests": 0, "failed": 0, "durations": {}, "first_events": {}}
            group = groups[key] = {**dict(zip(by, key, strict=True)), **blank}
        group["requests"] += 1
        if record.status != 200 or record.outcome != "completed":
            group["failed"] += 1
            continue  # how long a refusal took says nothing about the model
        _add(group["durations"], record.duration_s)
        if record.first_event_s is not None:
            _add(group["first_events"], record.first_event_s)
    return list(groups.values())


def _values(record: RequestRecord) -> Mapping[str, str]:
    decisive = record.decisive
    provider, _, model = (decisive.deployment if decisive is not None else "").partition("/")
    credential = decisive.credential if decisive is not None else ""
    day = record.started_at.date().isoformat()
    return {"day": day, "client": record.client, "provider": provider, "credential": credential, "model": model}


def _add(counts: dict[str, int], duration_s: float) -> None:
    step = str(math.ceil(math.log(max(duration_s, _SHORTEST_S) / _SHORTEST_S, STEP)))
    counts[step] = counts.get(step, 0) + 1
