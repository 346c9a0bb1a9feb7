"""Pages of a list. First pages that are asked for in the same moment are read by one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.ports import Page
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, translating

Order = Sequence[tuple[str, int]]
_WHICH = "which_of_the_pages"
SIZE = "size_of_the_large"
"""In a document that was left out because of it: its size, in bytes of BSON."""


class _Query(NamedTuple):
    where: Mapping[str, Any]
    order: Order
    limit: int
    offset: int = 0


class Pages:
    """Reads pages of one collection. ``projection`` says what to leave out.

    ``largest``: in place of a document that has more bytes stands its ``_id``, with its SIZE.
    """

    def __init__(
        self,
        mongo: Mongo,
        collection: str,
        projection: Mapping[str, Any] | None = None,
        largest: int | None = None,
    ) -> None:
        self.operation_s = mongo.operation_s
        self._largest = largest
        self._name = collection
        self._collection = mongo.collection(collection)
        self._projection = projection
        self._first = Grouped(self._read)

    async def __call__(self, where: Mapping[str, Any], order: Order, page: Page) -> tuple[int, list[Document]]:
        """Return how many documents match and a page of them, by one query where the page holds the list's end."""
        query = _Query(where, order, page.limit + 1, page.offset)
        documents = (await self._read([query]))[0] if page.offset else await self._first(query)
        if len(documents) <= page.limit and (documents or page.offset == 0):
            return page.offset + len(documents), documents
        return await self._count(where), documents[: page.limit]

    @translating
    async def _count(self, where: Mapping[str, Any]) -> int:
        return await self._collection.count_documents(where)

    @translating
    async def those(self, keys: Sequence[str], where: Mapping[str, Any], largest: int) -> list[Document]:
        """Return the documents with these keys that match, in that order, as long as they have so many bytes."""
        stages = [{"$match": {**where, "_id": {"$in": [*keys]}}}, *self._shown((), largest)]
        found = {each["_id"]: each async for each in self._collection.aggregate(stages)}
        return [found[key] for key in keys if key in found]

    @translating
    async def _read(self, queries: Sequence[_Query]) -> Sequence[list[Document]]:
        first, *others = (self._stages(which, query) for which, query in enumerate(queries))
        unions = [{"$unionWith": {"coll": self._name, "pipeline": stages}} for stages in others]
        pages: list[list[Document]] = [[] for _ in queries]
        at_once = sum(query.limit for query in queries)
        async for document in self._collection.aggregate([*first, *unions], batchSize=at_once):
            pages[document.pop(_WHICH)].append(document)
        # What a union yields has no order that anybody promised.
        for query, page in zip(queries, pages, strict=True):
            for name, direction in reversed(query.order):
                page.sort(key=lambda document, name=name: document[name], reverse=direction < 0)  # type: ignore[misc]
        return pages

    def _stages(self, which: int, query: _Query) -> list[Document]:
        stages: list[Document] = [{"$match": query.where}, {"$sort": dict(query.order)}]
        if query.offset:
            stages.append({"$skip": query.offset})
        shown = self._shown([name for name, _ in query.order], self._largest)
        return [*stages, {"$limit": query.limit}, *shown, {"$set": {_WHICH: which}}]

    def _shown(self, names: Iterable[str], largest: int | None) -> list[Document]:
        """Return the stages that leave out what is not to be seen, and of what is too large all but some fields."""
        stages: list[Document] = [{"$project": self._projection}] if self._projection else []
        if largest is not None:
            size = {"$bsonSize": "$$ROOT"}
            instead = {**{name: f"${name}" for name in ("_id", *names)}, SIZE: size}
            stages.append({"$replaceWith": {"$cond": [{"$lte": [size, largest]}, "$$ROOT", instead]}})
        return stages
