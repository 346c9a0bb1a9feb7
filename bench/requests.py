"""What an answer costs: reading identities, writing and changing drafts, each beside a handler that asks once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from api.operate import opened
from bench.figures import NO_MORE, NO_SLOWER, Figure, Target
from bench.floor import DATABASE
from bench.load import Request, load
from bench.people import BODY, RECIPIENT, Person, drafts, person
from bench.servers import Process, Site, bare
from storage.mongo import Mongo

_IDENTITIES = 3
_PATCHED = 200
_SECONDS = 3.0
_INFOS = {"inserver": "imap.elsewhere.example:993", "outserver": "smtp.elsewhere.example:465"}
_CREDENTIALS = {
    "inusername": "me", "inpassword": "secret", "outusername": "me", "outpassword": "secret",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request with its bare counterpart, and what their rates have to be."""

    name: str
    ours: Request
    bare: Request
    target: Target


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody with three identities and some drafts."""

    person: Person
    message_ids: Sequence[str]


async def reader(site: Site, name: str = "reader") -> Reader:
    """Register the user of the requests."""
    async with opened(site.settings()) as (_, core):
        one = await person(core, name, "imap", _IDENTITIES, _INFOS, _CREDENTIALS)
        return Reader(one, [message_id for _, message_id in await drafts(core, [one], _PATCHED)])


def kinds(ours: Process, floor: Process, user: Reader) -> Sequence[Kind]:
    """Return the requests to measure."""
    draft = orjson.dumps(_draft(user.person.identity_ids[0])).decode()
    change = orjson.dumps({"subject": "Another subject", "body": BODY}).decode()
    headers, plain = user.person.headers, {"Content-Type": "application/json"}
    messages = f"{ours.url}/api/v1/messages"
    ids = tuple(user.message_ids)
    return [
        Kind(
            "GET of a user's 3 remote identities",
            Request("GET", f"{ours.url}/api/v2/identities/remotes", headers),
            Request("GET", f"{floor.url}/identities/{user.person.user_id}"),
            Target("≥", 0.7),
        ),
        Kind(
            "POST of a draft",
            Request("POST", messages, headers, draft),
            Request("POST", f"{floor.url}/messages", plain, draft),
            Target("≥", 0.6),
        ),
        Kind(
            "PATCH of a draft",
            Request("PATCH", f"{messages}/{{n}}", headers, change, ids),
            Request("PATCH", f"{floor.url}/messages/{{n}}", plain, change, ids),
            Target("≥", 0.6),
        ),
    ]


def _draft(identity_id: str) -> Mapping[str, object]:
    return {
        "user_identities": [identity_id],
        "subject": "A subject",
        "body": BODY,
        "participants": [{"address": RECIPIENT, "label": "Friend", "type": "To", "protocol": "email"}],
    }


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Measure all kinds, gateway and floor in turn."""
    site = Site(directory / "requests", uri)
    user = await reader(site)
    await same_data(site, user)
    async with site.running() as ours, bare(uri, directory) as floor:
        figures = [each for kind in kinds(ours, floor, user) for each in await _measured(kind, rounds)]
        return [*figures, Figure("memory, after all of them", "MB", [ours.peak_mb()], target=Target("≤", 150))]


async def compare(few: Site, many: Site, rounds: int) -> Sequence[Figure]:
    """Measure all kinds where many identities are stored, beside the same where there are few."""
    one, other = await reader(few), await reader(many)
    async with few.running() as of_few, many.running() as of_many:
        pairs = zip(kinds(of_many, of_many, other), kinds(of_few, of_few, one), strict=True)
        kinds_of_both = [replace(kind, bare=base.ours, target=NO_SLOWER) for kind, base in pairs]
        figures = [(await _measured(kind, rounds))[0] for kind in kinds_of_both]
        memory = Figure("memory", "MB", [of_many.peak_mb()], [of_few.peak_mb()], NO_MORE)
        return [*figures, memory]


async def _measured(kind: Kind, rounds: int) -> Sequence[Figure]:
    await load(kind.ours, _SECONDS)
    await load(kind.bare, _SECONDS)
    ours, floor = [], []
    for _ in range(rounds):
        ours.append(await load(kind.ours, _SECONDS))
        floor.append(await load(kind.bare, _SECONDS))
    most = Target("≤", 2) if kind.ours.method == "GET" else None
    return [
        Figure(
            kind.name,
            "requests/s",
            [each.per_s for each in ours],
            [each.per_s for each in floor],
            kind.target,
        ),
        Figure(
            f"{kind.name}, 99% within",
            "ms",
            [each.p99_ms for each in ours],
            [each.p99_ms for each in floor],
            most,
        ),
    ]


async def same_data(site: Site, user: Reader) -> None:
    """Give the floor the same identities and drafts to read and change."""
    mongo = Mongo(site.uri, site.database)
    for name in ("identities", "messages"):
        documents = await mongo.collection(name).find({"user_id": user.person.user_id}).to_list(None)
        for document in documents:
            document["_id"] = document.get("message_id", document["_id"])
            document.pop("credentials", None)
        await mongo.client[DATABASE][name].insert_many(documents)
    mongo.close()
