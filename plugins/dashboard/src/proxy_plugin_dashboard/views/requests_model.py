"""What the page of requests shows: the newest ones that match, and how one of them was routed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct, convert

from proxy_core import ProcessStatus, RecentRequest
from proxy_plugin_dashboard.words import seconds

PER_PAGE = 50
Tone = Literal["good", "warn", "bad", "calm"]
#: The parameters of a search, as ``GET /admin/requests`` has them.
FILTERS = ("q", "client", "model", "deployment", "credential", "outcome", "status")
OUTCOMES: Mapping[str, str] = {
    "": "Any outcome",
    "completed": "Answered",
    "failed": "Failed",
    "cut": "Broke off",
    "client_left": "Client left",
}


class Row(Struct, frozen=True, kw_only=True):
    """One request. ``words`` say how it ended, in the colour ``tone``."""

    id: str
    ended_at: datetime
    client: str
    model: str
    served_by: str
    credential: str
    attempts: int
    first_event_s: float | None
    duration_s: float
    prompt: int | None
    completion: int | None
    cost: float | None
    tone: Tone
    words: str


class RequestsModel(Struct, frozen=True, kw_only=True):
    """``kept`` requests are in the history, ``matched`` of them match. ``older``: the query of the next page."""

    now: datetime
    rows: Sequence[Row]
    kept: int
    matched: int
    running: int
    query: Mapping[str, str]
    older: Mapping[str, str] | None
    is_search: bool


class Found(Struct, frozen=True, kw_only=True):
    """What a search found in all processes, newest first."""

    requests: Sequence[RecentRequest]
    kept: int
    matched: int


def wanted(query: Mapping[str, str]) -> Mapping[str, str]:
    """The parameters of a search that say something."""
    return {name: query[name].strip() for name in (*FILTERS, "before") if query.get(name, "").strip()}


def found_in(processes: Iterable[Mapping[str, Any]]) -> Found:
    """From the answers of all processes to one search."""
    processes = list(processes)
    requests = [convert(request, RecentRequest) for process in processes for request in process["requests"]]
    return Found(
        requests=newest(requests),
        kept=sum(process["kept"] for process in processes),
        matched=sum(process["matched"] for process in processes),
    )


def with_newer(before: Found, newer: Found) -> Found:
    """``newer``: what the same search found about the time since shortly before the newest of ``before``."""
    known = {request.id for request in before.requests}
    fresh = [request for request in newer.requests if request.id not in known]
    return Found(
        requests=newest([*fresh, *before.requests]),
        kept=newer.kept,
        matched=min(before.matched + len(fresh), newer.kept),
    )


def newest(requests: Iterable[RecentRequest]) -> list[RecentRequest]:
    return sorted(requests, key=ended_at, reverse=True)[:PER_PAGE]


def ended_at(request: RecentRequest) -> float:
    return request.started_at.timestamp() + request.duration_s


def requests_model(statuses: Sequence[ProcessStatus], found: Found, query: Mapping[str, str]) -> RequestsModel:
    rows = [_row(request) for request in found.requests]
    more = found.matched > len(rows) and len(rows) == PER_PAGE
    return RequestsModel(
        now=max(status.taken_at for status in statuses),
        rows=rows,
        kept=found.kept,
        matched=found.matched,
        running=sum(status.requests_in_flight for status in statuses),
        query=query,
        older={**query, "before": repr(ended_at(found.requests[-1]))} if more else None,
        is_search=bool(query),
    )


def _row(request: RecentRequest) -> Row:
    tone, words = ending(request.status, request.outcome, request.error)
    usage = request.usage
    return Row(
        id=request.id,
        ended_at=request.started_at + timedelta(seconds=min(request.duration_s, 1e6)),
        client=request.client,
        model=request.model,
        served_by=request.deployment or "",
        credential=request.credential or "",
        attempts=request.attempts,
        first_event_s=request.first_event_s,
        duration_s=request.duration_s,
        prompt=usage.prompt if usage is not None else None,
        completion=usage.completion if usage is not None else None,
        cost=request.cost,
        tone=tone,
        words=words,
    )


def ending(status: int, outcome: str, error: str | None) -> tuple[Tone, str]:
    why = f": {error}" if error else ""
    match outcome:
        case "completed" if status < 400:
            return "good", "answered"
        case "client_left":
            return "warn", "client left"
        case "cut":
            return "bad", f"broke off{why}"
    return "bad", f"{status}{why}" if status else f"failed{why}"


# --- One request -------------------------------------------------------------------------

#: Why a credential could not be chosen, for a reader who sees the word for the first time.
_REASONS: Mapping[str, str] = {
    "busy": "already has as many requests as it may have at once",
    "cooling down": "cools down",
    "probing": "is being tried by another request, after its cooldown",
    "capped": "has used up a cap from the settings",
    "fair cycle": "waits until the others have had their turn",
    "priority": "is of a lower priority than this request may use",
    "tried": "was tried already",
    "unable": "cannot serve this model",
    "refreshing": "is just renewing its token",
    "needs login": "needs a new login",
    "needs setup": "needs to be set up",
}
_FAULTS: Mapping[str, str] = {
    "client": "the request itself",
    "credential": "this account",
    "model": "this model, with this account",
    "provider": "the provider",
    "network": "the connection",
    "plugin": "a plugin",
}


class Step(Struct, frozen=True, kw_only=True):
    """One thing that happened. ``more`` are details, a line each; ``quote``: the upstream's own words."""

    tone: Tone
    words: str
    more: Sequence[tuple[str, str]] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    """A request as a list of facts and the steps that it took."""

    id: str
    tone: Tone
    words: str
    cause: str
    facts: Sequence[tuple[str, str]]
    steps: Sequence[Step]


def explanation(record: Mapping[str, Any], names: Mapping[str, str], cost: str = "") -> Explanation:
    """From what ``GET /admin/explain/ID`` answers. ``names``: of accounts, by fingerprint."""
    tone, words = ending(record["status"], record["outcome"], record["error"])
    return Explanation(
        id=record["id"],
        tone=tone,
        words=words,
        cause=record.get("cause", ""),
        facts=list(_facts(record, cost)),
        steps=list(_steps(record["decisions"], record["attempts"], names)),
    )


def accounts_in(record: Mapping[str, Any]) -> set[str]:
    chosen = {decision["chosen"] for decision in record["decisions"] if decision.get("chosen")}
    excluded = {one["credential"] for decision in record["decisions"] for one in decision.get("excluded", ())}
    return chosen | excluded | {attempt["credential"] for attempt in record["attempts"]}


def _facts(record: Mapping[str, Any], cost: str) -> Iterator[tuple[str, str]]:
    yield "Client", record["client"]
    yield "Model", record["model"]
    yield "Format", record["dialect"].replace("_", " ") + (", streamed" if record["stream"] else "")
    yield "Began", record["started_at"].replace("T", " ").replace("+00:00", " UTC")
    if record["first_event_s"] is not None:
        yield "First event after", f"{record['first_event_s']:.3f} s"
    yield "Ended after", f"{record['duration_s']:.3f} s"
    usage = record["usage"]
    if usage is not None:
        cached = f", {usage['cached']:,} of them cached" if usage["cached"] else ""
        thought = f", {usage['reasoning']:,} of them reasoning" if usage["reasoning"] else ""
        yield "Tokens", f"{usage['prompt']:,} in{cached}; {usage['completion']:,} out{thought}"
    if cost:
        yield "Cost", cost
    if record["changed_by"]:
        yield "Changed by", ", ".join(record["changed_by"])


def _steps(
    decisions: Iterable[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> Iterator[Step]:
    """Each attempt after the decision that it follows from."""
    left = list(enumerate(attempts, 1))
    for decision in decisions:
        yield _decision(decision, names)
        if left and left[0][1]["credential"] == decision.get("chosen"):
            yield _attempt(*left.pop(0), names)
    yield from (_attempt(number, attempt, names) for number, attempt in left)


def _decision(decision: Mapping[str, Any], names: Mapping[str, str]) -> Step:
    chosen, usable = decision.get("chosen"), decision.get("candidates", 0)
    at = f" ({decision['at_s']:.3f} s)" if decision.get("at_s") else ""
    if chosen:
        accounts = f"{usable} account{'' if usable == 1 else 's'} could be used"
        probe = ", to see whether it works again" if decision.get("probe") else ""
        words = f"For {decision['deployment']}, {accounts}; {_name(chosen, names)} was chosen{probe}{at}"
    else:
        words = f"For {decision['deployment']}, no account could be used{at}"
    return Step(tone="calm" if chosen else "warn", words=words, more=list(_excluded(decision, names)))


def _excluded(decision: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if "outage_s" in decision:
        yield f"The provider failed for every account; it is tried again in {seconds(decision['outage_s'])}", ""
    for one in decision.get("excluded", ()):
        left = f" for another {seconds(one['left_s'])}" if "left_s" in one else ""
        reason = _REASONS.get(one["reason"], one["reason"])
        yield f"{_name(one['credential'], names)} {reason}{left}", one.get("upstream_message", "")
    if decision.get("unnamed"):
        yield f"and {decision['unnamed']} more", ""


def _attempt(number: int, attempt: Mapping[str, Any], names: Mapping[str, str]) -> Step:
    status, fault = attempt["status"], attempt["fault"]
    what = f"answered {status}" if status else "gave no answer"
    took = f"after {attempt['duration_s'] or 0:.3f} s"
    whose = f"; at fault: {_FAULTS.get(fault, fault)}" if fault else ""
    words = f"Attempt {number}: {attempt['deployment']} with {_name(attempt['credential'], names)} {what} {took}{whose}"
    more = [(attempt["cause"], "")] if attempt.get("cause") else []
    return Step(tone="bad" if fault else "good", words=words, more=more)


def _name(credential: str, names: Mapping[str, str]) -> str:
    name = names.get(credential, credential)
    return name if name == credential else f"{name} ({credential})"
