"""Calls that are made as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import Unavailable
from storage.grouped import Grouped

AWAY = 99_999


class Echo:
    """Answers by the question, when its gate is open; tells which questions came together."""

    def __init__(self) -> None:
        self.groups: list[Sequence[int]] = []
        self.gate = asyncio.Event()

    async def ask(self, questions: Sequence[int]) -> Sequence[int]:
        """Answer; fail where a question is negative, or the one to which nobody is there."""
        self.groups.append(questions)
        await self.gate.wait()
        if AWAY in questions:
            raise Unavailable("away")
        if min(questions) < 0:
            raise ValueError
        return questions


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_goes_together() -> None:
    """Questions of one moment go together, and so do those that come while all calls are under way."""
    echo = Echo()
    grouped = Grouped(echo.ask)
    asked = []
    for first in (0, 10, 20, 30):
        asked += [asyncio.create_task(grouped(number)) for number in (first, first + 1)]
        await turns()
    assert echo.groups == [[0, 1], [10, 11]]
    echo.gate.set()
    assert await asyncio.gather(*asked) == [0, 1, 10, 11, 20, 21, 30, 31]
    assert echo.groups[2:] == [[20, 21, 30, 31]]


async def test_every_question_is_answered() -> None:
    """Questions that come at any moment, also as the last call ends, are answered."""
    echo = Echo()
    echo.gate.set()
    grouped = Grouped(echo.ask)

    async def ask_on(number: int) -> None:
        for step in range(50):
            assert await grouped(number * 100 + step) == number * 100 + step

    async with asyncio.timeout(30):
        await asyncio.gather(*(ask_on(number) for number in range(7)))


async def test_fault_of_one() -> None:
    """A failure reaches who caused it, and nobody who asked at the same time."""
    echo = Echo()
    echo.gate.set()
    grouped = Grouped(echo.ask)
    answers = await asyncio.gather(*(grouped(number) for number in (1, -1, 2)), return_exceptions=True)
    assert (answers[0], answers[2]) == (1, 2)
    assert isinstance(answers[1], ValueError)
    assert echo.groups == [[1, -1, 2], [1], [-1], [2]]


async def test_nobody_there() -> None:
    """Where nobody is there to answer, all who asked and all who wait hear so, and later ones are asked again."""
    echo = Echo()
    grouped = Grouped(echo.ask)
    asked = []
    for number in (AWAY, AWAY, 1, 2):
        asked.append(asyncio.create_task(grouped(number)))
        await turns()
    echo.gate.set()
    for task in asked:
        with pytest.raises(Unavailable):
            await task
    assert await grouped(3) == 3


async def test_cancellation() -> None:
    """A caller that gives up leaves the others their answers."""
    echo = Echo()
    grouped = Grouped(echo.ask)
    given_up, kept = (asyncio.create_task(grouped(number)) for number in (3, 4))
    await turns()
    given_up.cancel()
    echo.gate.set()
    assert await kept == 4
    assert given_up.cancelled() or given_up.cancelling()
