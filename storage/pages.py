"""Pages of a list. First pages that are asked for in the same moment are read by one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.ports import Page
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, translating

Order = Sequence[tuple[str, int]]
_WHICH = "which_of_the_pages"


class _Query(NamedTuple):
    where: Mapping[str, Any]
    order: Order
    limit: int


class Pages:
    """Reads pages of one collection. ``projection`` says what to leave out."""

    def __init__(self, mongo: Mongo, collection: str, projection: Mapping[str, Any] | None = None) -> None:
        self.operation_s = mongo.operation_s
        self._name = collection
        self._collection = mongo.collection(collection)
        self._projection = projection
        self._first = Grouped(self._first_all)

    async def __call__(self, where: Mapping[str, Any], order: Order, page: Page) -> tuple[int, list[Document]]:
        """Return how many documents match and a page of them, by one query where the page holds the list's end."""
        query = _Query(where, order, page.limit + 1)
        documents = await (self._find(query, page.offset) if page.offset else self._first(query))
        if len(documents) <= page.limit and (documents or page.offset == 0):
            return page.offset + len(documents), documents
        return await self._count(where), documents[: page.limit]

    @translating
    async def _count(self, where: Mapping[str, Any]) -> int:
        return await self._collection.count_documents(where)

    @translating
    async def _find(self, query: _Query, offset: int) -> list[Document]:
        cursor = self._collection.find(query.where, self._projection).sort(list(query.order))
        return await cursor.skip(offset).limit(query.limit).to_list(query.limit)

    async def _first_all(self, queries: Sequence[_Query]) -> Sequence[list[Document]]:
        return await self._union(queries) if len(queries) > 1 else [await self._find(queries[0], 0)]

    @translating
    async def _union(self, queries: Sequence[_Query]) -> Sequence[list[Document]]:
        first, *others = (self._stages(which, query) for which, query in enumerate(queries))
        unions = [{"$unionWith": {"coll": self._name, "pipeline": stages}} for stages in others]
        pages: list[list[Document]] = [[] for _ in queries]
        async for document in self._collection.aggregate([*first, *unions]):
            pages[document.pop(_WHICH)].append(document)
        # What a union yields has no order that anybody promised.
        for query, page in zip(queries, pages, strict=True):
            for name, direction in reversed(query.order):
                page.sort(key=lambda document, name=name: document[name], reverse=direction < 0)  # type: ignore[misc]
        return pages

    def _stages(self, which: int, query: _Query) -> list[Document]:
        stages: list[Document] = [{"$match": query.where}, {"$sort": dict(query.order)}, {"$limit": query.limit}]
        if self._projection:
            stages.append({"$project": self._projection})
        return [*stages, {"$set": {_WHICH: which}}]
