"""The fault run in its short form; the long one is ``python -m benchmarks.faults``."""

import pytest
from benchmarks.faults import fault_run, print_outcome
from benchmarks.faults_check import Bounds, Story, cooldowns, problems
from benchmarks.faults_load import Seen
from benchmarks.faults_systems import Run, in_flight
from benchmarks.faulty import Attempt

BOUNDS = Bounds(max_wait_s=4, first_event_s=1, idle_s=1, max_cooldown_s=1.5)


@pytest.mark.slow
def test_every_request_ends_as_it_must_when_everything_fails_now_and_then():
    run = Run(requests=300, concurrency=64, credentials=30, seed=1, bounds=BOUNDS, half_open_after_s=1)

    outcome = fault_run(run)

    print_outcome(outcome)
    assert outcome.failed == []


# --- The checks themselves ---------------------------------------------------------------


def seen(**fields):
    usual = {"kind": "usual", "stream": True, "leaves": "", "at": 0.0, "took_s": 0.5, "status": 200}
    whole = {"marks": [("k1", 1, 0, 2), ("k1", 1, 1, 2)], "finished": True, "done": True}
    return Seen(id="r1", **{**usual, **whole, **fields})


def attempt(number=1, **fields):
    usual = {"key": f"k{number}", "play": "success", "stream": True, "hint_s": None, "at": 0.1 * number}
    whole = {"content_at": 0.1 * number + 0.01, "ended_at": 0.1 * number + 0.05, "end": "whole"}
    return Attempt(id="r1", number=number, **{**usual, **whole, **fields})


REFUSED = {"end": "error", "content_at": None}
BROKEN = {"marks": [("k1", 1, 0, 4)], "finished": False, "done": False, "error": "cut"}
FAILED = {"status": 502, "marks": [], "finished": False, "done": False, "error": "upstream_error"}

RIGHT = {
    "a complete response": (seen(), [attempt()]),
    "a complete response after a refusal": (
        seen(marks=[("k2", 2, 0, 2), ("k2", 2, 1, 2)]),
        [attempt(1, **REFUSED), attempt(2)],
    ),
    "broken after content": (seen(**BROKEN), [attempt(end="broken")]),
    "silence after content": (seen(**BROKEN), [attempt(end="left", ended_at=1.2)]),
    "nothing but failures": (seen(**FAILED), [attempt(1, **REFUSED), attempt(2, **REFUSED)]),
    "the client's mistake": (seen(**FAILED | {"status": 400}, kind="mistake"), [attempt(**REFUSED)]),
    "every credential is cooling down": (seen(**FAILED | {"status": 429}, retry_after="2"), []),
    "every credential is refused": (seen(**FAILED | {"status": 403}), [attempt(**REFUSED)]),
    "the upstream's own time, however long": (seen(**FAILED | {"status": 429}, retry_after="360"), []),
    "a client that left": (seen(left=True, leaves="after"), [attempt(end="left")]),
}

WRONG = {
    "a cut stream as a clean end": (seen(done=False), [attempt()], "ended as 200, cut"),
    "a refusal as a complete response": (seen(), [attempt(**REFUSED)], "complete, although"),
    "an error although nothing was wrong": (seen(**BROKEN), [attempt()], "did not break"),
    "a status although there was a response": (seen(**FAILED), [attempt()], "sent a complete response"),
    "a status after content": (seen(**FAILED), [attempt(end="broken")], "content had been sent"),
    "a mistake sent twice": (
        seen(**FAILED | {"status": 400}, kind="mistake"),
        [attempt(1, **REFUSED), attempt(2, **REFUSED)],
        "sent 2 times",
    ),
    "the account's problem reported as a mistake": (
        seen(**FAILED | {"status": 400}),
        [attempt(**REFUSED)],
        "ended as 400",
    ),
    "429 that does not say when": (seen(**FAILED | {"status": 429}), [], "without Retry-After"),
    "503 that does not say when": (
        seen(**FAILED | {"status": 503}),
        [attempt(**REFUSED | {"play": "503 with a hint"})],
        "without Retry-After",
    ),
    "an absurd hint passed on": (seen(**FAILED | {"status": 429}, retry_after="86400"), [], "Retry-After 86400"),
    "a refusal that says when": (seen(**FAILED | {"status": 403}, retry_after="1"), [], "403 with Retry-After"),
    "a status that the proxy never sends": (seen(**FAILED | {"status": 500}), [], "ended as 500"),
    "no error object": (seen(**FAILED | {"error": None}), [], "without an error object"),
    "replayed after content": (seen(**BROKEN), [attempt(1, end="broken"), attempt(2)], "after content had been sent"),
    "sent again after a complete response": (seen(), [attempt(1), attempt(2)], "after a complete response"),
    "sent again for a client that left": (seen(left=True), [attempt(1, **REFUSED), attempt(2, at=9.0)], "had left"),
    "content from two attempts": (seen(marks=[("k1", 1, 0, 2), ("k2", 2, 1, 2)]), [attempt()], "from 2 attempts"),
    "a piece twice": (seen(marks=[("k1", 1, 0, 2), ("k1", 1, 0, 2)]), [attempt()], "repeated"),
    "a piece missing": (seen(marks=[("k1", 1, 0, 2)]), [attempt()], "pieces missing"),
    "a piece of another request": (seen(odd="a piece of r2"), [attempt()], "ended as odd"),
    "too long": (seen(took_s=60), [attempt()], "took 60.0 s"),
    "an attempt that never ends": (seen(), [attempt(end="open", ended_at=None)], "still open"),
    "silence that is tolerated too long": (seen(**BROKEN), [attempt(end="left", ended_at=20.0)], "left open for"),
    "an attempt after the budget": (seen(took_s=8), [attempt(at=7.0, ended_at=7.1)], "started 7.0 s after"),
}


@pytest.mark.parametrize(("seen", "attempts"), RIGHT.values(), ids=RIGHT)
def test_a_correct_story_has_no_problem(seen, attempts):
    assert problems(Story(seen, attempts), BOUNDS) == []


@pytest.mark.parametrize(("seen", "attempts", "problem"), WRONG.values(), ids=WRONG)
def test_an_incorrect_story_is_detected(seen, attempts, problem):
    assert any(problem in found for found in problems(Story(seen, attempts), BOUNDS))


def test_a_key_used_before_its_hint_has_passed_is_counted():
    limited = {"key": "k1", "play": "429 in words", "end": "error", "hint_s": 1.0}
    on_its_way = attempt(5, key="k1", at=6.2, ended_at=6.3)

    attempts = [attempt(n, **limited, at=at, ended_at=at) for n, at in enumerate((1.0, 1.5, 6.0, 10.0))]

    found = cooldowns([*attempts, on_its_way])["429 in words"]
    assert (found.count, found.readable, found.early) == (4, 4, 1)
    assert found.again_s == [0.5, 4.0]  # the second cooldown may have been the first's
    assert cooldowns([*attempts, on_its_way], probed_after_s=0.5)["429 in words"].early == 0


def test_leases_are_found_wherever_they_stand_in_a_report():
    report = {"models": [{"credentials": [{"in_flight": 2}, {"in_flight": 0}]}], "total": {"in_flight": 1}}

    assert in_flight(report) == [2, 0, 1]
    assert in_flight(None) == []
