"""Calls that come while one is under way, made as one (group commit)."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gateway.errors import Unavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_MOST = 100
"""Questions of one call."""
_AT_ONCE = 2
"""Calls under way: the database works on one while the answers to the other are read."""


class Grouped(Generic[Question, Answer]):
    """Answers questions by ``ask``, which takes several and returns their answers in the same order.

    A question that comes alone is asked at once. An answer that is an exception is raised to its caller. Where
    ``ask`` itself fails, nothing was done, and each question is asked by itself, for the fault may be of one; but
    where the database is away they fail, and all that wait with them. A caller that is canceled takes nothing back.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        self._ask = ask
        self._open: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, question: Question) -> Answer:
        """Return the answer. Raises what ``ask`` raises."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open.append((question, answer))
        if len(self._under_way) < _AT_ONCE:
            # In no caller's context: PyMongo keeps a deadline there, and the first one's is not that of the others.
            task = asyncio.create_task(self._answer_all(), context=contextvars.Context())
            self._under_way.add(task)
        return await answer

    async def _answer_all(self) -> None:
        # By its first turn all who ask in this moment have done so.
        while group := self._open[:_MOST]:
            del self._open[:_MOST]
            await self._answer(group)
        # Here and not in a callback, before which somebody could ask and not be heard.
        self._under_way -= {asyncio.current_task()}

    async def _answer(self, group: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._ask([question for question, _ in group])
        except Unavailable as error:
            _fail([*group, *self._open], error)
            self._open.clear()
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(group) == 1:
                _fail(group, error)
            else:
                await self._answer_singly(group)
        else:
            for each, answer in zip(group, answers, strict=True):
                if isinstance(answer, Exception):
                    _fail([each], answer)
                elif not each[1].done():
                    each[1].set_result(answer)

    async def _answer_singly(self, group: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        for number, each in enumerate(group):
            await self._answer([each])
            error = None if each[1].cancelled() else each[1].exception()
            if isinstance(error, Unavailable):
                _fail(group[number:], error)
                return


def _fail(group: Sequence[tuple[Question, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
