"""Finds recent requests, and says how long those of one kind took. Pure; ten thousand take some milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import takewhile
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import RecentRequest, RequestRecord

#: The ratio of two neighbouring durations of ``durations``.
STEP = 1.1
_SHORTEST_S = 0.001
#: By how much a request can come into the history later than it ended.
_LATE_S = 5.0


class Search(Struct, frozen=True, kw_only=True):
    """What to look for; an empty field matches everything.

    ``q``: words that all occur somewhere, also in the account's label; ``labels`` has these by fingerprint. The other
    texts are whole values, but ``status`` may be a class (``4xx``) and ``deployment`` a provider. ``since`` is the
    first day (UTC); ``after`` and ``before`` are about when a request ended (epoch seconds).
    """

    q: str = ""
    client: str = ""
    model: str = ""
    deployment: str = ""
    credential: str = ""
    outcome: str = ""
    status: str = ""
    since: date = date.min
    after: float = -math.inf
    before: float = math.inf
    labels: Mapping[str, str] = {}


Test = Callable[[RequestRecord], bool]


def search(records: Sequence[RequestRecord], wanted: Search) -> Sequence[RequestRecord]:
    """Those of ``records``, newest first, that match. What came before ``wanted.after`` is not looked at."""
    tests = list(_tests(wanted))
    if wanted.after > -math.inf:
        records = list(takewhile(lambda record: ended_at(record) > wanted.after - _LATE_S, records))
    return [record for record in records if all(test(record) for test in tests)] if tests else records


def _tests(wanted: Search) -> Iterator[Test]:
    """One for each field that says something: the cheap ones first."""
    for name in ("client", "model", "outcome"):
        if value := getattr(wanted, name):
            yield lambda record, name=name, value=value: getattr(record, name) == value  # type: ignore[misc]  # a loop's
    if status := wanted.status:
        yield lambda record: status in (str(record.status), f"{record.status // 100}xx")
    if wanted.since > date.min:
        yield lambda record: record.started_at.date() >= wanted.since
    if wanted.after > -math.inf or wanted.before < math.inf:
        yield lambda record: wanted.after < ended_at(record) < wanted.before
    if deployment := wanted.deployment:
        yield lambda record: deployment in (found := _tried(record)[0], found.partition("/")[0])
    if credential := wanted.credential:
        yield lambda record: credential == _tried(record)[1]
    if words := wanted.q.lower().split():
        yield lambda record: _has(words, record, wanted.labels)


def _tried(record: RequestRecord) -> tuple[str, str]:
    """The deployment and the credential that answered, or were tried last."""
    decisive = record.decisive
    return (decisive.deployment, decisive.credential) if decisive is not None else ("", "")


def _has(words: Sequence[str], record: RequestRecord, labels: Mapping[str, str]) -> bool:
    of = (record.id, record.client, record.model, *_tried(record), record.dialect, record.error or "", record.outcome)
    text = f"{' '.join(of)} {record.status} {labels.get(of[4], '')}".lower()
    return all(word in text for word in words)


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
    requests, so several processes' can be added. The longest of each are exact.
    """
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        values = _values(record)
        key = tuple(values[name] for name in by)
        group = groups.get(key)
        if group is None:
            blank = {"requests": 0, "failed": 0, "durations": {}, "first_events": {}}
            slowest = {"longest_s": 0.0, "longest_first_event_s": 0.0}
            group = groups[key] = {**dict(zip(by, key, strict=True)), **blank, **slowest}
        group["requests"] += 1
        if record.status != 200 or record.outcome != "completed":
            group["failed"] += 1
            continue  # how long a refusal took says nothing about the model
        _add(group, "durations", "longest_s", record.duration_s)
        if record.first_event_s is not None:
            _add(group, "first_events", "longest_first_event_s", record.first_event_s)
    return list(groups.values())


def _values(record: RequestRecord) -> Mapping[str, str]:
    deployment, credential = _tried(record)
    provider, _, model = deployment.partition("/")
    day = record.started_at.date().isoformat()
    return {"day": day, "client": record.client, "provider": provider, "credential": credential, "model": model}


def _add(group: dict[str, Any], counted: str, longest: str, duration_s: float) -> None:
    counts = group[counted]
    group[longest] = max(group[longest], duration_s)
    step = str(math.ceil(math.log(max(duration_s, _SHORTEST_S) / _SHORTEST_S, STEP)))
    counts[step] = counts.get(step, 0) + 1
