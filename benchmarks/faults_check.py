"""What must hold for every request of a fault run, whatever happened to it. Pure: two logs in, problems out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.faults_load import Told
from benchmarks.faulty import Attempt

#: How late a timer may be on a busy machine, and how long it may take until a closed connection is noticed.
SLACK_S = 2.5
#: What the longest reply of the upstream takes after its first event, pauses included.
_REPLY_S = 2.5
#: A request may be on its way to a key while the 429 of that key is on its way back; on a busy machine for long.
_CROSSED_S = 0.45
_EARLY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits the proxy was given."""

    max_wait_s: float
    first_event_s: float
    idle_s: float
    max_cooldown_s: float

    @property
    def request_s(self) -> float:
        """The last attempt starts within the budget, and has its own limits."""
        return self.max_wait_s + self.first_event_s + _REPLY_S + self.idle_s + SLACK_S


@dataclass(slots=True)
class Story:
    """One request: what its client saw, and what the upstream did."""

    told: Told
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def ended(self) -> str:
        """The class of its end, as the client sees it."""
        told = self.told
        if told.left:
            return "left"
        if told.odd is not None:
            return "odd"
        if told.status != 200:
            return str(told.status)
        if told.error is not None:
            return "200, then an error"
        return "200" if told.finished and (told.done or not told.stream) else "200, cut"

    def __str__(self) -> str:
        told = self.told
        kind = f"{told.kind}{', stream' if told.stream else ''}{f', leaves {told.leaves}' if told.leaves else ''}"
        lines = [f"{told.id} ({kind}) {self.ended} after {told.took_s:.2f} s, error {told.error}, {told.odd or ''}"]
        lines += [f"  saw {told.marks}, retry-after {told.retry_after}"]
        for a in self.attempts:
            until = "open" if a.ended_at is None else f"{a.ended_at - told.at:.2f}"
            content = "" if a.content_at is None else f", content at {a.content_at - told.at:.2f}"
            lines.append(f"  attempt {a.number} {a.key} {a.at - told.at:.2f} to {until} s: {a.play}, {a.end}{content}")
        return "\n".join(lines)


def stories(told: Iterable[Told], attempts: Iterable[Attempt]) -> list[Story]:
    found = {one.id: Story(one) for one in told}
    for attempt in attempts:
        if attempt.id in found:
            found[attempt.id].attempts.append(attempt)
    return list(found.values())


def problems(story: Story, bounds: Bounds) -> list[str]:
    """Everything that is wrong with one request."""
    return [*_end(story, bounds), *_marks(story), *_sent_again(story), *_limits(story, bounds)]


def _end(story: Story, bounds: Bounds) -> list[str]:
    """Right class: the client was told what happened, and nothing better was to be had."""
    told, ended, attempts = story.told, story.ended, story.attempts
    if ended == "left":
        return []
    if told.kind == "mistake":
        if ended == "400":
            return [] if len(attempts) == 1 else [f"the client's mistake was sent {len(attempts)} times"]
        if ended in ("429", "503") and not attempts:
            return _status(story, bounds)
        return [f"the client's mistake ended as {ended}"]
    if ended == "200":
        return [] if attempts and attempts[-1].end == "whole" else ["complete, though the upstream's reply was not"]
    if ended == "200, then an error":
        return [] if _broke(story) else ["an error after content, though the upstream did not break there"]
    if ended in ("429", "502", "503", "504"):
        return _status(story, bounds)
    return [f"ended as {ended}"]


def _status(story: Story, bounds: Bounds) -> list[str]:
    wrong = []
    if any(a.end == "whole" for a in story.attempts):
        wrong.append(f"{story.ended}, though the upstream gave a whole reply")
    if any(_has_committed(a) for a in story.attempts):
        wrong.append(f"{story.ended}, though content had been sent")
    wrong += _retry_after(story, bounds)
    if story.told.error is None:
        wrong.append(f"{story.ended} without an error object")
    return wrong


def _retry_after(story: Story, bounds: Bounds) -> list[str]:
    """Told where it is known, and never beyond the longest rest: by then some credential is asked again."""
    value, last = story.told.retry_after, story.attempts[-1].play if story.attempts else ""
    if value is None:
        known = story.ended == "429" or (story.ended == "503" and last == "503 with a hint")
        return [f"{story.ended} without Retry-After"] if known else []
    if value.isdigit() and int(value) <= math.ceil(bounds.max_cooldown_s):
        return []
    return [f"Retry-After {value}, though no rest is longer than {bounds.max_cooldown_s:g} s"]


def _has_committed(attempt: Attempt) -> bool:
    """Content of a stream left the upstream, and surely arrived before anything broke."""
    return attempt.stream and attempt.content_at is not None


def _broke(story: Story) -> bool:
    """The last attempt broke after content, of itself or because it fell silent."""
    last = story.attempts[-1] if story.attempts else None
    return last is not None and _has_committed(last) and last.end in ("broken", "left")


def _marks(story: Story) -> list[str]:
    """The content is of one attempt, in order, without gaps or repetitions; whole if the reply is."""
    told = story.told
    if not told.marks:
        return ["complete without content"] if story.ended == "200" else []
    of = {(key, number) for key, number, _, _ in told.marks}
    if len(of) > 1:
        return [f"content of {len(of)} attempts in one reply"]
    if [piece for _, _, piece, _ in told.marks] != list(range(len(told.marks))):
        return ["pieces missing, repeated or out of order"]
    if story.ended == "200" and len(told.marks) != told.marks[0][3]:
        return ["a complete reply with pieces missing"]
    if story.attempts and of != {(story.attempts[-1].key, story.attempts[-1].number)}:
        return ["content of an attempt that was not the last"]
    return []


def _sent_again(story: Story) -> list[str]:
    """After content, after a whole reply or after the client left no further attempt starts."""
    wrong = []
    gone = story.told.at + story.told.took_s + SLACK_S
    for one, after in zip(story.attempts, story.attempts[1:], strict=False):
        if _has_committed(one):
            wrong.append(f"attempt {after.number} after content had been sent")
        if one.end == "whole":
            wrong.append(f"attempt {after.number} after a whole reply")
    if any(a.at > gone for a in story.attempts):
        wrong.append("an attempt after the client had its answer or had left")
    return wrong


def _limits(story: Story, bounds: Bounds) -> list[str]:
    wrong = []
    if story.told.took_s > bounds.request_s:
        wrong.append(f"took {story.told.took_s:.1f} s, at most {bounds.request_s:.1f} are allowed")
    for a in story.attempts:
        if a.ended_at is None:
            wrong.append(f"attempt {a.number} is still open at the upstream")
        elif a.end == "left" and a.ended_at - (a.content_at or a.at) > SLACK_S + (
            bounds.first_event_s if a.content_at is None else bounds.idle_s
        ):
            wrong.append(f"attempt {a.number} was left open for {a.ended_at - a.at:.1f} s")
        if a.at - story.told.at > bounds.max_wait_s + SLACK_S:
            wrong.append(f"attempt {a.number} started {a.at - story.told.at:.1f} s after the request")
    return wrong


# --- Figures -----------------------------------------------------------------------------


def classes(all_stories: Sequence[Story]) -> dict[str, int]:
    """How many requests ended how, the most frequent first."""
    return dict(Counter(f"{s.ended}{f' {s.told.error}' if s.told.error else ''}" for s in all_stories).most_common())


def faults(attempts: Iterable[Attempt]) -> dict[str, int]:
    return dict(Counter(a.play for a in attempts).most_common())


def share_served(all_stories: Sequence[Story]) -> float:
    """Of the clients that stayed and made no mistake, those that got a whole reply."""
    stayed = [s for s in all_stories if s.told.kind != "mistake" and s.ended != "left"]
    return sum(s.ended == "200" for s in stayed) / max(1, len(stayed))


def added_s(all_stories: Sequence[Story], *, rotated: bool) -> list[float]:
    """Of requests with several attempts: the time in which none of them was under way, in order of length.

    ``rotated``: those that asked another key each time; else those that asked one again, which backs off.
    """
    added = []
    for story in all_stories:
        pairs = list(zip(story.attempts, story.attempts[1:], strict=False))
        if pairs and all(one.key != after.key for one, after in pairs) == rotated:
            added.append(sum(max(0.0, after.at - (one.ended_at or after.at)) for one, after in pairs))
    return sorted(added)


@dataclass(slots=True)
class Rests:
    """What became of keys after 429s of one style. Requests that crossed the 429 on its way do not count.

    ``again_s`` is of those whose rest was theirs alone.
    """

    count: int = 0
    readable: int = 0
    early: int = 0
    again_s: list[float] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Longer than hints of a second, or of two where only whole seconds can be said, explain."""
        return bool(self.readable and self.again_s) and percentile(sorted(self.again_s), 0.5) > 2 + _CROSSED_S

    def __str__(self) -> str:
        again = f"{percentile(sorted(self.again_s), 0.5):.2f} s (median)" if self.again_s else "not at all"
        return f"{again:16} {len(self.again_s)} of {self.count}" + (
            f", {self.early} too early" if self.readable else ""
        )


def rests(attempts: Sequence[Attempt]) -> dict[str, Rests]:
    """By hint style: when the keys were asked again."""
    of_key: Mapping[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda a: a.at):
        of_key[attempt.key].append(attempt)
    found: Mapping[str, Rests] = defaultdict(Rests)
    for one in attempts:
        if one.play.startswith("429") and one.ended_at is not None:
            rest, hint_s, answered = found[one.play], one.hint_s, one.ended_at
            again = next((a.at - answered for a in of_key[one.key] if a.at > answered + _CROSSED_S), None)
            rest.count += 1
            rest.readable += hint_s is not None
            rest.early += again is not None and hint_s is not None and again < hint_s - _EARLY_S
            if again is not None and _alone(one, of_key[one.key], again):
                rest.again_s.append(again)
    return dict(sorted(found.items()))


def _alone(one: Attempt, of_key: Sequence[Attempt], again_s: float) -> bool:
    """No other refusal has a part in this rest. A key's refusals often come together, and the longest rest counts."""
    since, until = (one.ended_at or 0.0) - 3 * _CROSSED_S, (one.ended_at or 0.0) + again_s
    return not any(a is not one and _refuses(a) and since < (a.ended_at or math.inf) < until for a in of_key)


def _refuses(attempt: Attempt) -> bool:
    return attempt.end == "error" and attempt.play.startswith(("4", "dead"))


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan
