"""Pages of things that may be large, of which little is in memory at a time.

1. One question brings what is small of the page, and of the large things no more than their size; 2. what is large,
and what stands behind it, is then read a few at a time, each time as much as a portion may have. So most pages are
read by one question, as those of small things are. No cursor stays open in between: what was deleted meanwhile is
missing, and what has grown is read later, by itself.

Both take their memory of what all lists of the process have: the first for as long as the question takes, so that
nobody has to wait for another's slow reader; the second until its portion is done with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Generic, TypeVar

from gateway.ports import Page, Portions
from storage.memory import Memory, SharedMemory
from storage.mongo import Document, Mongo
from storage.pages import SIZE, Order, Pages

SMALL = 8 * 1024  # bytes in BSON
PORTION = 512 * 1024
_PAGES = 32 * 1024 * 1024  # and some times as much for what the driver and Python make of it, here and below
_PORTIONS = 32 * 1024 * 1024
_SHARE = 8 * 1024 * 1024

Item = TypeVar("Item")


class ListMemory:
    """The memory of all lists of a process, in bytes."""

    def __init__(self, pages: int = _PAGES, portions: int = _PORTIONS, share: int = _SHARE) -> None:
        self.pages = Memory(pages)
        self.portions = SharedMemory(portions, share)


class PortionedPages(Generic[Item]):
    """Reads pages of one collection. ``item`` makes of a document what it stands for."""

    def __init__(
        self,
        mongo: Mongo,
        collection: str,
        item: Callable[[Document], Item],
        memory: ListMemory,
        projection: Mapping[str, Any] | None = None,
    ) -> None:
        self._pages = Pages(mongo, collection, projection, largest=SMALL)
        self._item = item
        self._memory = memory

    async def __call__(
        self, user_id: str, where: Mapping[str, Any], order: Order, page: Page
    ) -> tuple[int, Portions[Item]]:
        """Return how many of the user's documents match, and a page of them."""
        where = {"user_id": user_id, **where}
        async with self._memory.pages.taken((page.limit + 1) * SMALL):
            total, documents = await self._pages(where, order, page)
        first, left = self._cut(documents)
        return total, Portions(first, self._rest(user_id, where, left) if left else None)

    async def _rest(
        self, user_id: str, where: Mapping[str, Any], left: Sequence[Document]
    ) -> AsyncGenerator[list[Item], None]:
        while left:
            portion, largest = _portion(left)
            async with self._memory.portions.taken(user_id, sum(map(_size, portion))):
                documents = await self._pages.those([each["_id"] for each in portion], where, largest)
                items, grown = self._cut(documents)
                del documents
                yield items
            left = [*grown, *left[len(portion) :]]

    def _cut(self, documents: Sequence[Document]) -> tuple[list[Item], Sequence[Document]]:
        """Return what came whole up to the first that did not, and that with what stands behind it."""
        whole = [*takewhile(lambda document: SIZE not in document, documents)]
        return [self._item(document) for document in whole], [
            {"_id": each["_id"], SIZE: _size(each)} for each in documents[len(whole) :]
        ]


def _size(document: Document) -> int:
    size: int = document.get(SIZE, SMALL)
    return size


def _portion(left: Sequence[Document]) -> tuple[Sequence[Document], int]:
    """Return the first ones that fit together into a portion, one at least, and the size of the largest."""
    sums = accumulate(map(_size, left))
    portion = left[: max(1, len([*takewhile(lambda size: size <= PORTION, sums)]))]
    return portion, max(map(_size, portion))
