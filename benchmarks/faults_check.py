"""The checks for every request of a fault run, whatever happened to it. Pure: two logs in, problems out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.faults_load import Seen
from benchmarks.faulty import Attempt

#: The longest time that the faulty upstream names plausibly.
LONGEST_HINT_S = 360
#: How late a timer may fire on a busy machine, and how long a closed connection may go unnoticed.
SLACK_S = 2.5
#: The time that the upstream's longest response takes after its first event, including pauses.
_RESPONSE_S = 2.5
#: How long a request may be on its way to a key while a 429 for that key is on its way back, on a busy machine.
_CROSSED_S = 0.45
_EARLY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The proxy's limits."""

    max_wait_s: float
    first_event_s: float
    idle_s: float
    max_cooldown_s: float

    @property
    def request_s(self) -> float:
        """The longest possible request: the last attempt starts within ``max_wait_s`` and has its own limits."""
        return self.max_wait_s + self.first_event_s + _RESPONSE_S + self.idle_s + SLACK_S


@dataclass(slots=True)
class Story:
    """One request: what its client saw, and what the upstream did."""

    seen: Seen
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def ended(self) -> str:
        """How it ended, as the client saw it."""
        seen = self.seen
        if seen.left:
            return "left"
        if seen.odd is not None:
            return "odd"
        if seen.status != 200:
            return str(seen.status)
        if seen.error is not None:
            return "200, then an error"
        return "200" if seen.finished and (seen.done or not seen.stream) else "200, cut"

    def __str__(self) -> str:
        seen = self.seen
        kind = f"{seen.kind}{', stream' if seen.stream else ''}{f', leaves {seen.leaves}' if seen.leaves else ''}"
        lines = [f"{seen.id} ({kind}) {self.ended} after {seen.took_s:.2f} s, error {seen.error}, {seen.odd or ''}"]
        lines += [f"  saw {seen.marks}, retry-after {seen.retry_after}"]
        for a in self.attempts:
            until = "open" if a.ended_at is None else f"{a.ended_at - seen.at:.2f}"
            content = "" if a.content_at is None else f", content at {a.content_at - seen.at:.2f}"
            lines.append(f"  attempt {a.number} {a.key} {a.at - seen.at:.2f} to {until} s: {a.play}, {a.end}{content}")
        return "\n".join(lines)


def stories(seen: Iterable[Seen], attempts: Iterable[Attempt]) -> list[Story]:
    found = {one.id: Story(one) for one in seen}
    for attempt in attempts:
        if attempt.id in found:
            found[attempt.id].attempts.append(attempt)
    return list(found.values())


def problems(story: Story, bounds: Bounds) -> list[str]:
    """All problems of one request."""
    return [*_end(story, bounds), *_marks(story), *_sent_again(story), *_limits(story, bounds)]


def _end(story: Story, bounds: Bounds) -> list[str]:
    """Check the class: the client must learn what happened, and nothing better must have been available."""
    seen, ended, attempts = story.seen, story.ended, story.attempts
    if ended == "left":
        return []
    if seen.kind == "mistake":
        if ended == "400":
            return [] if len(attempts) == 1 else [f"the client's mistake was sent {len(attempts)} times"]
        if ended in ("403", "429", "503") and not attempts:
            return _status(story, bounds)
        return [f"the client's mistake ended as {ended}"]
    if ended == "200":
        return (
            [] if attempts and attempts[-1].end == "whole" else ["complete, although the upstream's response was not"]
        )
    if ended == "200, then an error":
        return [] if _broke(story) else ["an error after content, although the upstream did not break there"]
    if ended in ("403", "429", "502", "503", "504"):
        return _status(story, bounds)
    return [f"ended as {ended}"]


def _status(story: Story, bounds: Bounds) -> list[str]:
    wrong = []
    if any(a.end == "whole" for a in story.attempts):
        wrong.append(f"{story.ended}, although the upstream sent a complete response")
    if any(_has_committed(a) for a in story.attempts):
        wrong.append(f"{story.ended}, although content had been sent")
    wrong += _retry_after(story, bounds)
    if story.seen.error is None:
        wrong.append(f"{story.ended} without an error object")
    return wrong


def _retry_after(story: Story, bounds: Bounds) -> list[str]:
    """``Retry-After`` must be present if known, and never exceed the longest cooldown, or what an upstream named. There
    is none where waiting does not help."""
    value, last = story.seen.retry_after, story.attempts[-1].play if story.attempts else ""
    if value is None:
        known = story.ended == "429" or (story.ended == "503" and last == "503 with a hint")
        return [f"{story.ended} without Retry-After"] if known else []
    if story.ended == "403":
        return [f"403 with Retry-After {value}"]
    if value.isdigit() and int(value) <= max(math.ceil(bounds.max_cooldown_s), LONGEST_HINT_S):
        return []
    return [f"Retry-After {value}, although no cooldown is longer than {bounds.max_cooldown_s:g} s"]


def _has_committed(attempt: Attempt) -> bool:
    """Whether the upstream sent stream content, which must have arrived before anything broke."""
    return attempt.stream and attempt.content_at is not None


def _broke(story: Story) -> bool:
    """Whether the last attempt broke after content, by itself or because it fell silent."""
    last = story.attempts[-1] if story.attempts else None
    return last is not None and _has_committed(last) and last.end in ("broken", "left")


def _marks(story: Story) -> list[str]:
    """Content must come from one attempt, in order, without gaps or repetitions, and be whole if the response is."""
    seen = story.seen
    if not seen.marks:
        return ["complete without content"] if story.ended == "200" else []
    of = {(key, number) for key, number, _, _ in seen.marks}
    if len(of) > 1:
        return [f"content from {len(of)} attempts in one response"]
    if [piece for _, _, piece, _ in seen.marks] != list(range(len(seen.marks))):
        return ["pieces missing, repeated or out of order"]
    if story.ended == "200" and len(seen.marks) != seen.marks[0][3]:
        return ["a complete response with pieces missing"]
    if story.attempts and of != {(story.attempts[-1].key, story.attempts[-1].number)}:
        return ["content from an attempt that was not the last"]
    return []


def _sent_again(story: Story) -> list[str]:
    """No attempt may start after content, after a complete response or after the client has disconnected."""
    wrong = []
    gone = story.seen.at + story.seen.took_s + SLACK_S
    for one, after in zip(story.attempts, story.attempts[1:], strict=False):
        if _has_committed(one):
            wrong.append(f"attempt {after.number} after content had been sent")
        if one.end == "whole":
            wrong.append(f"attempt {after.number} after a complete response")
    if any(a.at > gone for a in story.attempts):
        wrong.append("an attempt after the client had its response or had left")
    return wrong


def _limits(story: Story, bounds: Bounds) -> list[str]:
    wrong = []
    if story.seen.took_s > bounds.request_s:
        wrong.append(f"took {story.seen.took_s:.1f} s, at most {bounds.request_s:.1f} are allowed")
    for a in story.attempts:
        if a.ended_at is None:
            wrong.append(f"attempt {a.number} is still open at the upstream")
        elif a.end == "left" and a.ended_at - (a.content_at or a.at) > SLACK_S + (
            bounds.first_event_s if a.content_at is None else bounds.idle_s
        ):
            wrong.append(f"attempt {a.number} was left open for {a.ended_at - a.at:.1f} s")
        if a.at - story.seen.at > bounds.max_wait_s + SLACK_S:
            wrong.append(f"attempt {a.number} started {a.at - story.seen.at:.1f} s after the request")
    return wrong


# --- Figures -----------------------------------------------------------------------------


def classes(all_stories: Sequence[Story]) -> dict[str, int]:
    """The number of requests by how they ended, the most frequent first."""
    return dict(Counter(f"{s.ended}{f' {s.seen.error}' if s.seen.error else ''}" for s in all_stories).most_common())


def faults(attempts: Iterable[Attempt]) -> dict[str, int]:
    return dict(Counter(a.play for a in attempts).most_common())


def share_served(all_stories: Sequence[Story]) -> float:
    """The share of clients with a complete response, among those that stayed and made no mistake."""
    stayed = [s for s in all_stories if s.seen.kind != "mistake" and s.ended != "left"]
    return sum(s.ended == "200" for s in stayed) / max(1, len(stayed))


def added_s(all_stories: Sequence[Story], *, rotated: bool) -> list[float]:
    """For requests with several attempts: the time during which no attempt was running, sorted.

    ``rotated``: requests that used another key each time; otherwise those that repeated a key, which backs off.
    """
    added = []
    for story in all_stories:
        pairs = list(zip(story.attempts, story.attempts[1:], strict=False))
        if pairs and all(one.key != after.key for one, after in pairs) == rotated:
            added.append(sum(max(0.0, after.at - (one.ended_at or after.at)) for one, after in pairs))
    return sorted(added)


@dataclass(slots=True)
class Cooldowns:
    """When keys were used again after 429s of one style. Requests that crossed the 429 on its way do not count.

    ``again_s`` covers only keys whose cooldown had a single cause.
    """

    count: int = 0
    readable: int = 0
    early: int = 0
    again_s: list[float] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Whether the cooldown is longer than the hints explain: one second, or two in whole seconds."""
        return bool(self.readable and self.again_s) and percentile(sorted(self.again_s), 0.5) > 2 + _CROSSED_S

    def __str__(self) -> str:
        again = f"{percentile(sorted(self.again_s), 0.5):.2f} s (median)" if self.again_s else "not at all"
        return f"{again:16} {len(self.again_s)} of {self.count}" + (
            f", {self.early} too early" if self.readable else ""
        )


def cooldowns(attempts: Sequence[Attempt], probed_after_s: float = math.inf) -> dict[str, Cooldowns]:
    """By style of hint: when the keys were used again. After ``probed_after_s`` single requests may try them."""
    of_key: Mapping[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda a: a.at):
        of_key[attempt.key].append(attempt)
    found: Mapping[str, Cooldowns] = defaultdict(Cooldowns)
    for one in attempts:
        if one.play.startswith("429") and one.ended_at is not None:
            cooldown, hint_s, answered = found[one.play], one.hint_s, one.ended_at
            again = next((a.at - answered for a in of_key[one.key] if a.at > answered + _CROSSED_S), None)
            cooldown.count += 1
            cooldown.readable += hint_s is not None
            cooldown.early += (
                again is not None and hint_s is not None and again < min(hint_s, probed_after_s) - _EARLY_S
            )
            if again is not None and _alone(one, of_key[one.key], again):
                cooldown.again_s.append(again)
    return dict(sorted(found.items()))


def _alone(one: Attempt, of_key: Sequence[Attempt], again_s: float) -> bool:
    """Whether no other refusal affects this cooldown; of several that come together, the longest applies."""
    since, until = (one.ended_at or 0.0) - 3 * _CROSSED_S, (one.ended_at or 0.0) + again_s
    return not any(a is not one and _refuses(a) and since < (a.ended_at or math.inf) < until for a in of_key)


def _refuses(attempt: Attempt) -> bool:
    return attempt.end == "error" and attempt.play.startswith(("4", "dead"))


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan
