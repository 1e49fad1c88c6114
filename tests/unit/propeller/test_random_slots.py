"""Random attempts in random parts: the limits hold, and no attempt waits that could run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from trimtab_propeller.slots import Slots

LIMITS = st.sampled_from([1, 1, 2, 3, None])
PARTS = st.lists(st.tuples(LIMITS, st.integers(0, 3)), min_size=2, max_size=4)
"""The limit of each part, and the number of the part that it is in, of those before it."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "start", "end", "end", "cancel", "adopt", "refuse"]),
        st.integers(0, 100),
    ),
    min_size=20,
    max_size=60,
)


@dataclass
class Attempt:
    number: int
    part: int
    adopted: bool = False
    has_slot: bool = False
    may_take: bool = True
    """Whether it takes the slot that it has waited for."""
    end: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def run(self, run: "Run") -> None:
        slots = run.slots[self.part]
        name = str(self.number)
        while not slots.has_room_for(name):
            await slots.wait_for_room()
            if not self.may_take:
                slots.wake()
                return
        assert self.adopted or run.has_room(self.part)
        slots.take(name)
        self.has_slot = True
        await self.end.wait()
        self.has_slot = False
        slots.release(name)


class Run:
    """The parts, counted without `Slots`, and the attempts."""

    def __init__(self, parts: Sequence[tuple[int | None, int]]) -> None:
        self.limits = [limit for limit, _ in parts]
        self.around = [None if n == 0 else around % n for n, (_, around) in enumerate(parts)]
        self.slots: list[Slots] = []
        for limit, around in zip(self.limits, self.around, strict=True):
            self.slots.append(Slots(limit, None if around is None else self.slots[around]))
        self.attempts: list[Attempt] = []

    def chain(self, part: int) -> list[int]:
        around = self.around[part]
        return [part] if around is None else [part, *self.chain(around)]

    @property
    def running(self) -> list[Attempt]:
        return [each for each in self.attempts if each.has_slot]

    @property
    def waiting(self) -> list[Attempt]:
        tasks = [(each, each.task) for each in self.attempts if not each.has_slot]
        return [each for each, task in tasks if task is not None and not task.done()]

    def held(self, part: int) -> int:
        return sum(part in self.chain(each.part) for each in self.running)

    def has_room(self, part: int) -> bool:
        limits = [(self.limits[each], each) for each in self.chain(part)]
        return all(limit is None or self.held(each) < limit for limit, each in limits)

    def step(self, action: str, choice: int) -> None:
        if action in ("start", "adopt"):
            attempt = Attempt(len(self.attempts), choice % len(self.slots), action == "adopt")
            self.attempts.append(attempt)
            if attempt.adopted:
                self.slots[attempt.part].take(str(attempt.number))
            attempt.task = asyncio.get_running_loop().create_task(attempt.run(self))
        elif action == "end" and self.running:
            self.running[choice % len(self.running)].end.set()
        elif action != "end" and self.waiting:
            chosen = self.waiting[choice % len(self.waiting)]
            chosen.may_take = False
            if action == "cancel" and chosen.task is not None:
                chosen.task.cancel()

    def check(self, before: Sequence[Attempt]) -> None:
        still = [each.number for each in self.waiting]
        for each in self.waiting:
            assert not self.has_room(each.part), f"{each.number} waits, and has room"
        for each in before:
            if each.has_slot:
                earlier = [o for o in before if o.part == each.part and o.number < each.number]
                assert not [o for o in earlier if o.number in still and o.may_take]


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def run_steps(
    parts: Sequence[tuple[int | None, int]], steps: Sequence[tuple[str, int]]
) -> None:
    run = Run(parts)
    for action, choice in steps:
        before = run.waiting
        run.step(action, choice)
        await settled()
        run.check(before)
    for each in run.waiting:
        each.may_take = True
    while run.running:
        run.running[0].end.set()
        await settled()
    assert not run.waiting
    for each in run.attempts:
        if each.task is not None and not each.task.cancelled():
            each.task.result()


@given(PARTS, STEPS)
def test_the_limits_of_all_parts_hold_and_no_attempt_waits_that_has_room(
    parts: list[tuple[int | None, int]], steps: list[tuple[str, int]]
) -> None:
    asyncio.run(run_steps(parts, steps))
