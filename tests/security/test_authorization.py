"""Who gets in where: every route of the application, asked by everybody who may not.

The tables have a row for each route of the router; one that is not in both fails. What the roles on a domain allow
is in tests/api/test_role_matrix.py, what the accounts of the dimail-compatible face may in
tests/api/dimail/test_authorization.py: here it is seen that these two leave no route out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.resources import files
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from api.examples import REQUESTS
from gateway.roles import Action
from storage.mongo import Mongo
from storage.tokens import TOKENS
from tests.api import test_role_matrix as roles
from tests.api.dimail import test_authorization as dimail
from tests.api.test_attachments import attach
from tests.client import PASSWORD, Client, Reply, draft
from tests.conftest import FRIEND
from tests.dimail import DimailClient

PUBLIC: Mapping[str, str] = {
    "GET /": "the console's page: a program, and nobody's data",
    "GET /console/{file}": "its scripts, styles and pictures",
    "GET /api/docs": "the documentation: the same for all",
    "GET /api/docs/{file}": "its scripts and styles",
    "GET /api/openapi.json": "what it is made of",
    "GET /healthz": "for whoever restarts the process",
    "GET /readyz": "for whoever balances the load",
    "GET /metrics": "counts, without names; the proxy keeps it to the operator (docs/install.md)",
    "POST /api/v1/users": "registering is how one gets credentials",
    "POST /api/v1/authentications": "signing in is how one gets tokens; the password is the credential",
    "POST /api/v1/authentications/refresh": "the refresh token is the credential",
    "GET /api/v2/username/isAvailable": "whoever wants to register asks it; signing up would tell it too",
}
"""What takes no token, and why."""

ONES_OWN: Sequence[str] = (
    "DELETE /api/v1/authentications",
    "GET /api/v1/me",
    "POST /api/v1/messages",
    "GET /api/v2/messages",
    "GET POST /api/v2/domains",
    "POST /api/v2/identities/discover",
    "GET /api/v2/identities/locals",
    "GET POST /api/v2/identities/remotes",
    "GET POST /api/v2/remotes",
    "POST /api/v2/invitations/accept",
)
"""What names nothing of anybody's: it is about whoever asks."""

SOMEBODYS: Sequence[str] = (
    "GET PATCH DELETE /api/v2/users/{user_id}",
    "GET PATCH DELETE /api/v1/messages/{message_id}",
    "GET PATCH DELETE /api/v2/messages/{message_id}",
    "POST /api/v1/messages/{message_id}/actions",
    "POST /api/v2/messages/{message_id}/actions",
    "POST /api/v2/messages/{message_id}/attachments",
    "GET DELETE /api/v2/messages/{message_id}/attachments/{temp_id}",
    "GET /api/v1/raws/{raw_msg_id}",
    "GET /api/v2/identities/locals/{identity_id}",
    "GET /api/v2/identities/locals/{identity_id}/checks",
    "GET PATCH DELETE /api/v2/identities/remotes/{identity_id}",
    "POST /api/v2/identities/remotes/{identity_id}/actions",
    "GET /api/v2/identities/remotes/{identity_id}/checks",
    "GET PATCH DELETE /api/v2/remotes/{identity_id}",
    "POST /api/v2/remotes/{identity_id}/actions",
    "GET /api/v2/remotes/{identity_id}/checks",
)
"""What is one user's: to others it is not there."""

OF_DOMAINS: Sequence[str] = (
    "GET PATCH /api/v2/domains/{name}",
    "POST /api/v2/domains/{name}/actions",
    "GET POST /api/v2/domains/{name}/accesses",
    "PATCH DELETE /api/v2/domains/{name}/accesses/{user_id}",
    "GET POST /api/v2/domains/{name}/invitations",
    "DELETE /api/v2/domains/{name}/invitations/{invitation_id}",
    "GET POST /api/v2/domains/{name}/mailboxes",
    "GET PATCH DELETE /api/v2/domains/{name}/mailboxes/{local_part}",
    "POST /api/v2/domains/{name}/mailboxes/{local_part}/actions",
    "GET POST /api/v2/domains/{name}/aliases",
    "DELETE /api/v2/domains/{name}/aliases/{local_part}/{destination}",
)
"""What is a domain's: to whoever has no role on it it is not there; others may what their role allows."""

DOMAIN = "mine.ok.test"
LATER = "2099-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class World:
    """Somebody with one of everything, and the parts of paths that name it."""

    owner: Client
    names: Mapping[str, str]
    local_id: str

    def path(self, template: str, *, other: bool = False) -> str:
        """Return the path of what is the owner's; ``other``: of nothing at all, in the same form."""
        names = {**self.names, **({"identity_id": self.local_id} if "/locals/" in template else {})}
        if "/accesses/" not in template:
            names["user_id"] = self.owner.user_id
        if other:
            names = {name: _nothing(name) for name in names}
        return re.sub(r"{(\w+)}", lambda match: names[match[1]], template)


def _nothing(name: str) -> str:
    match name:
        case "name":
            return "nothing.ok.test"
        case "destination":
            return "nobody@elsewhere.example"
        case "local_part":
            return "nobody"
    return str(uuid4())


@pytest.fixture
async def world(user: Client) -> World:
    """A user who has a draft with a file, an order, identities, and a domain with all that belongs to it."""
    viewer = await user.register("some-viewer")
    local_id = (await user.local_identity())["identity_id"]
    account = {"protocol": "smtp", "identifier": FRIEND.address, "infos": {"outserver": "localhost:1"}}
    remote_id = (await user.post("/api/v2/identities/remotes", account)).json["identity_id"]
    message_id = await user.draft(local_id)
    temp_id = await attach(user, message_id)
    ordered = await user.send(await user.draft(local_id), send_at=LATER)
    at = f"/api/v2/domains/{DOMAIN}"
    assert (await user.post("/api/v2/domains", {"name": DOMAIN})).status == 201
    assert (await user.post(f"{at}/accesses", {"user_id": viewer.user_id, "role": "viewer"})).status == 201
    invited = await user.post(f"{at}/invitations", {"email": FRIEND.address, "role": "viewer"})
    box = {"local_part": "ada", "first_name": "Ada", "last_name": "Example", "secondary_email": FRIEND.address}
    assert (await user.post(f"{at}/mailboxes", box)).status == 201
    alias = {"local_part": "ada", "destination": FRIEND.address}
    assert (await user.post(f"{at}/aliases", alias)).status == 201
    names = {
        "user_id": viewer.user_id,
        "message_id": message_id,
        "temp_id": temp_id,
        "raw_msg_id": ordered.json["raw_msg_id"],
        "identity_id": remote_id,
        "name": DOMAIN,
        "invitation_id": invited.json["id"],
        **alias,
    }
    return World(user, names, local_id)


def router(client: Client) -> web.UrlDispatcher:
    """Return the router of the application that the client asks."""
    assert isinstance(client.http.app, web.Application)
    return client.http.app.router


def routes(client: Client) -> set[str]:
    """Return verb and path of every route of the router, that of HEAD with the GET that it stands for."""
    return {
        f"{'GET' if route.method == 'HEAD' else route.method} {route.resource.canonical}"
        for route in router(client).routes()
        if route.resource
    }


def rows(table: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (verb, path) of the rows of a table, HEAD with every GET."""
    for row in table:
        *verbs, path = row.split()
        for verb in verbs:
            yield verb, path
            if verb == "GET":
                yield "HEAD", path


async def canonical(client: Client, verb: str, path: str) -> str:
    """Return verb and path of the route that takes a request."""
    request = make_mocked_request(verb, URL(path).raw_path)
    match = await router(client).resolve(request)
    assert match.route.resource, path
    return f"{verb} {match.route.resource.canonical}"


def body_of(client: Client, verb: str, template: str) -> Any:
    """Return the example of the body that an operation takes; None where it takes none, or a file."""
    operation = client.contract.document["paths"][template].get(verb.lower(), {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return content and REQUESTS[content["schema"]["$ref"].rpartition("/")[2]]


async def ask(client: Client, verb: str, path: str, header: str | None, body: Any = None) -> Reply:
    """Send a request with this Authorization, and read the answer."""
    headers = {} if header is None else {"Authorization": header}
    async with client.http.request(verb, path, headers=headers, json=body) as response:
        return Reply(response.status, response.headers.copy(), await response.read())


# -- the tables ----------------------------------------------------------------------------------------------------


async def test_every_route_has_a_row(api: Client) -> None:
    """The tables have every route and no other; what stands for the files of a package are its files."""
    found = {route for route in routes(api) if not re.match(r"\w+ /dimail/", route)}
    served = {route for route in found if re.match(r"GET /(console|api/docs)/", route)}
    for route in served:
        package, _, file = route.removeprefix("GET /").replace("api/docs/", "docs/").partition("/")
        assert files(f"api.{package}").joinpath(file).is_file(), route
    of_files = {re.sub(r"(/console|/api/docs)/.+", r"\1/{file}", route) for route in served}
    tables = [f"{verb} {path}" for table in (ONES_OWN, SOMEBODYS, OF_DOMAINS) for verb, path in rows(table)]
    tables = [*PUBLIC, *(row for row in tables if not row.startswith("HEAD "))]
    assert sorted(found - served | of_files) == sorted(tables)


async def test_what_is_public_says_so(api: Client) -> None:
    """The document says of those operations, and of no others, that they take no credentials."""
    described = {
        f"{verb.upper()} {path}"
        for path, verbs in api.contract.document["paths"].items()
        for verb, operation in verbs.items()
        if operation.get("security") == []
    }
    assert described == {row for row in PUBLIC if row in routes(api)} - {"GET /", "GET /api/docs"}


async def test_roles_are_tried_on_every_route(api: Client) -> None:
    """The matrix of roles has a request for every route of domains, or a change of somebody's role."""
    requests = [request for action in Action for request in roles.REQUESTS[action]]
    asked = {(request.verb, f"{roles.DOMAIN}{request.path}") for request in requests}
    asked |= {("POST", f"{roles.DOMAIN}/{kind}") for kind in ("accesses", "invitations")}
    asked |= {(verb, f"{roles.DOMAIN}/accesses/{{id}}") for verb in ("PATCH", "DELETE")}
    tried = {await canonical(api, verb, path.replace("{id}", str(uuid4()))) for verb, path in asked}
    assert tried == {f"{verb} {path}" for verb, path in rows(OF_DOMAINS) if verb != "HEAD"}


async def test_dimails_table_has_every_route(api: Client) -> None:
    """The table of the dimail-compatible face names every route there is below /dimail, by both spellings."""
    named = {await canonical(api, each.verb, f"/dimail{each.path.rstrip('/')}") for each in dimail.ROUTES}
    assert {f"{row}{slash}" for row in named for slash in ("", "/")} == {
        route for route in routes(api) if re.match(r"\w+ /dimail/", route)
    }


# -- credentials ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def useless(world: World, api: Client, mongo: Mongo) -> Mapping[str, str | None]:
    """Headers that let nobody in, by what is wrong with them."""
    owner = world.owner
    name = (await owner.get("/api/v1/me")).json["username"]
    pair = (await api.post("/api/v1/authentications", {"username": name, "password": PASSWORD})).json["tokens"]
    expired, revoked, gone = await api.sign_in(name), await api.sign_in(name), await api.register("some-gone")
    key = sha256(expired.access_token.encode()).hexdigest()
    past = {"$set": {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}}
    assert (await mongo.collection(TOKENS).update_one({"_id": key}, past)).matched_count
    assert (await revoked.call("DELETE", "/api/v1/authentications")).status == 204
    assert (await gone.call("DELETE", f"/api/v2/users/{gone.user_id}", {"password": PASSWORD})).status == 204
    admin = await first_of_dimail(api)
    return {
        "none": None,
        "empty": "",
        "no scheme": owner.access_token,
        "another scheme": f"Digest {owner.access_token}",
        "no token": "Bearer",
        "no such token": "Bearer an-access-token",
        "no base64": "Basic !!",
        "no colon": f"Basic {owner.access_token}",
        "the password": aiohttp.encode_basic_auth(name, PASSWORD),
        "the name": aiohttp.encode_basic_auth(name, owner.access_token),
        "another's id": aiohttp.encode_basic_auth(world.names["user_id"], owner.access_token),
        "the refresh token": f"Bearer {pair['refresh_token']}",
        "expired": f"Bearer {expired.access_token}",
        "revoked": f"Bearer {revoked.access_token}",
        "of a user who is gone": f"Bearer {gone.access_token}",
        "of dimail": f"Bearer {admin.token}",
        "dimail's password": admin.basic,
    }


async def first_of_dimail(api: Client) -> DimailClient:
    """Return the administrator of the other face, who is its first account."""
    client = DimailClient(api)
    body = {"name": "admin", "password": client.password, "is_admin": True}
    assert (await client.request("POST", "/users/", json=body)).status == 201
    return await client.named("admin")


async def test_without_a_good_token(api: Client, world: World, useless: Mapping[str, str | None]) -> None:
    """Whatever is wrong with the credentials, a route that is not public is 401, and tells no more than that."""
    wrong, told = [], set()
    for verb, template in rows([*ONES_OWN, *SOMEBODYS, *OF_DOMAINS]):
        for kind, header in useless.items():
            reply = await ask(api, verb, world.path(template), header)
            told.add(reply.content)
            if reply.status != 401 or not reply.headers["WWW-Authenticate"].startswith("Basic "):
                wrong.append((verb, template, kind, reply.status))
    assert not wrong
    assert len(told) == 3  # of HEAD nothing; credentials are missing; they are no good


async def test_public(api: Client) -> None:
    """What is public is so with whatever credentials, and to nobody is it 401 or 403 for want of any."""
    for row in PUBLIC:
        verb, path = row.replace("console/{file}", "console/app.js").replace("{file}", "docs.js").split()
        if row != "POST /api/v1/authentications/refresh":
            for header in (None, "Bearer nonsense"):
                reply = await ask(api, verb, path, header)
                assert reply.status in {200, 415, 422}, row


async def test_one_face_does_not_open_the_other(user: Client, api: Client) -> None:
    """A user's token, as whatever it is shown, is good for nothing below /dimail, and changes nothing there."""
    admin = await first_of_dimail(api)
    for header in (f"Bearer {user.access_token}", aiohttp.encode_basic_auth(user.user_id, user.access_token)):
        for route in dimail.ROUTES[:9] if header.startswith("Basic") else dimail.ROUTES:
            reply = await ask(api, route.verb, f"/dimail{route.path}", header, route.body)
            assert reply.status in {401, 403}, route
    assert (await admin.call("GET", "/domains/")).status == 200


# -- other users ---------------------------------------------------------------------------------------------------


async def seen(world: World) -> list[Any]:
    """Return all that the owner sees of what is the owner's."""
    paths = [world.path(path) for verb, path in rows([*SOMEBODYS, *OF_DOMAINS]) if verb == "GET"]
    replies = [await world.owner.get(path) for path in paths]
    assert {reply.status for reply in replies} == {200}
    return [reply.content for reply in replies]


async def test_of_others(api: Client, world: World) -> None:
    """What is another's is answered, to the letter, as what is not there, and stays as it is."""
    stranger, before = await api.register("some-stranger"), await seen(world)
    header = f"Bearer {stranger.access_token}"
    wrong = []
    for verb, template in rows([*SOMEBODYS, *OF_DOMAINS]):
        body = body_of(api, verb, template)
        theirs, nothing = [
            await ask(api, verb, world.path(template, other=other), header, body) for other in (False, True)
        ]
        if theirs.status != 404 or shown(theirs) != shown(nothing):
            wrong.append((verb, template, theirs, nothing))
    assert not wrong
    assert await seen(world) == before


def shown(reply: Reply) -> tuple[int, bytes, Mapping[str, str]]:
    """Return an answer without what is of the moment."""
    headers = {name: value for name, value in reply.headers.items() if name not in {"X-Request-ID", "Date"}}
    return reply.status, reply.content, headers


async def test_others_ways(api: Client, world: World) -> None:
    """Nor does one come to it by lists, by bodies that name it, or by paths that are half one's own."""
    stranger = await api.register("some-stranger")
    local_id = (await stranger.local_identity())["identity_id"]
    await lists_are_ones_own(stranger, world)
    mine = await stranger.draft(local_id)
    await bodies_name_nothing(stranger, world, mine, local_id)
    await paths_are_of_one(stranger, world, mine)


async def lists_are_ones_own(stranger: Client, world: World) -> None:
    """See that lists have nothing of others, whatever is asked for."""
    queries = (
        "/api/v2/messages",
        f"/api/v2/messages?identity_id={world.local_id}",
        "/api/v2/domains",
        "/api/v2/identities/remotes",
        "/api/v2/remotes",
    )
    assert [(await stranger.get(path)).json["total"] for path in queries] == [0] * len(queries)
    assert [(await world.owner.get(path)).json["total"] for path in queries] == [2, 2, 1, 1, 1]
    assert (await stranger.get("/api/v1/me")).json["user_id"] == stranger.user_id


async def bodies_name_nothing(stranger: Client, world: World, mine: str, local_id: str) -> None:
    """See that a body that names what is another's is refused as one that names what is not there."""
    for theirs in (
        {"user_identities": [world.local_id]},
        {"user_identities": [world.names["identity_id"]]},
        {"parent_id": world.names["message_id"]},
    ):
        name, value = next(iter(theirs.items()))
        nothing = {name: [str(uuid4())] if isinstance(value, list) else str(uuid4())}
        for verb, path, rest in (
            ("POST", "/api/v1/messages", draft(local_id)),
            ("PATCH", f"/api/v1/messages/{mine}", {}),
        ):
            replies = [await stranger.call(verb, path, rest | body) for body in (theirs, nothing)]
            assert {reply.status for reply in replies} == {422}
            assert replies[0].content == replies[1].content


async def paths_are_of_one(stranger: Client, world: World, message_id: str) -> None:
    """See that what is another's, below one's own, is not there; nor is one's own below what is another's."""
    temp_id, theirs = await attach(stranger, message_id), world.names
    for path in (
        f"/api/v2/messages/{message_id}/attachments/{theirs['temp_id']}",
        f"/api/v2/messages/{theirs['message_id']}/attachments/{temp_id}",
        f"/api/v2/messages/{theirs['message_id']}/attachments/{theirs['temp_id']}",
    ):
        for verb in ("GET", "DELETE"):
            assert (await stranger.call(verb, path)).status == 404
    assert (await world.owner.get(world.path("/api/v1/messages/{message_id}"))).json["attachments"]
