"""Lists that are read to their end, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.ports import Page

_AT_ONCE = 500

Item = TypeVar("Item")


async def every(read: Callable[[Page], Awaitable[tuple[int, Sequence[Item]]]]) -> AsyncIterator[Item]:
    """Yield all items of a list; ``read`` returns how many there are and a page of them."""
    seen = total = 0
    while seen == 0 or seen < total:
        total, page = await read(Page(limit=_AT_ONCE, offset=seen))
        for item in page:
            yield item
        if not page:
            return
        seen += len(page)
