"""The floor of what HTTP and the database cost: a bare aiohttp and Motor handler for each kind of request.

No authentication, no validation, no logging: one indexed ``find``, one durable insert, one durable update. Run as
``python -m bench.floor URI PORT``; it listens on 127.0.0.1 and has a database of its own, ``floor``.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import orjson
import uvloop
from aiohttp import web
from motor.motor_asyncio import AsyncIOMotorClient

DATABASE = "floor"
Handler = Callable[[web.Request], Awaitable[web.Response]]


def application(client: AsyncIOMotorClient[dict[str, Any]]) -> web.Application:
    """Return an application that asks the database once for each request."""
    database = client[DATABASE]

    async def find(request: web.Request) -> web.Response:
        documents = await database.identities.find({"user_id": request.match_info["user_id"]}).to_list(50)
        return web.Response(body=orjson.dumps(documents, default=str), content_type="application/json")

    async def insert(request: web.Request) -> web.Response:
        document = orjson.loads(await request.read())
        document["_id"] = str(uuid4())
        await database.messages.insert_one(document)
        return web.Response(
            status=201, body=orjson.dumps({"message_id": document["_id"]}), content_type="application/json"
        )

    async def update(request: web.Request) -> web.Response:
        change = orjson.loads(await request.read())
        await database.messages.update_one(
            {"_id": request.match_info["message_id"]}, {"$set": change, "$inc": {"version": 1}}
        )
        return web.Response(status=204)

    app = web.Application()
    app.router.add_get("/identities/{user_id}", find)
    app.router.add_post("/messages", insert)
    app.router.add_patch("/messages/{message_id}", update)
    return app


async def _serving(uri: str) -> web.Application:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri, w="majority", journal=True)
    await client[DATABASE].identities.create_index("user_id")
    return application(client)


def main() -> None:
    """Run from the command line."""
    uri, port = sys.argv[1:]
    web.run_app(
        _serving(uri), host="127.0.0.1", port=int(port), access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main()
