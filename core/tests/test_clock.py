"""Waiting by a clock: the machine's, and one whose time a test moves."""

import asyncio

import pytest

from proxy_core.clock import Deadline, SystemClock
from proxy_core.testing import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


async def within(clock, limit_s, work_s):
    async with clock.timeout(limit_s):
        await clock.sleep(work_s)
    return "done"


async def test_a_block_that_takes_too_long_ends_with_a_timeout(clock):
    with pytest.raises(TimeoutError):
        await clock.run(within(clock, 2, 3))

    assert clock.time == 1002
    assert await clock.timed(within(clock, 3, 2)) == ("done", 2)


async def test_an_inner_limit_ends_its_own_block_alone(clock):
    async def both():
        async with clock.timeout(10):
            with pytest.raises(TimeoutError):
                await within(clock, 1, 5)
            await clock.sleep(1)

    _, took_s = await clock.timed(both())

    assert took_s == 2


async def test_a_limit_can_be_moved(clock):
    async def slow():
        async with clock.timeout(1) as scope:
            for _ in range(5):
                scope.reschedule(1)
                await clock.sleep(0.9)
            scope.reschedule(0.5)
            await clock.sleep(0.9)

    with pytest.raises(TimeoutError):
        await clock.run(slow())

    assert clock.time == pytest.approx(1005)


async def test_a_cancellation_from_outside_stays_one(clock):
    task = asyncio.create_task(within(clock, 2, 3))
    await clock.settle()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_moment_of_the_timeout_stays_one(clock):
    task = asyncio.create_task(within(clock, 2, 3))
    await clock.settle()

    task.cancel()
    clock.passes(2)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_calls_are_made_in_the_order_of_their_times_unless_cancelled(clock):
    made = []
    clock.call_later(2, lambda: made.append(("second", clock.time)))
    clock.call_later(1, lambda: made.append(("first", clock.time)))
    clock.call_later(1.5, lambda: made.append("never")).cancel()
    clock.call_later(9, lambda: made.append("later"))

    clock.passes(5)

    assert made == [("first", 1001), ("second", 1002)]
    assert clock.time == 1005


async def test_what_waits_for_something_else_than_time_is_not_waited_for(clock):
    with pytest.raises(TimeoutError, match="something other than time"):
        await clock.run(asyncio.Event().wait())


async def test_the_machines_clock_waits_in_real_time():
    clock = SystemClock()
    deadline, called = Deadline.after(0.02, clock), asyncio.Event()

    clock.call_later(0.02, called.set)
    with pytest.raises(TimeoutError):
        await within(clock, 0.02, 60)
    await called.wait()
    await clock.sleep(deadline.remaining_s(clock))

    assert deadline.remaining_s(clock) == 0
