"""Servers that misbehave: for each fault what the client is told, what is stored, and what happens next."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.demo.provider import Provider
from gateway.errors import Unavailable
from storage.mongo import Mongo
from storage.raws import MongoRaws
from tests.api.conftest import CLOSED_PORT
from tests.client import Client, Reply, remote
from tests.conftest import FRIEND, ME
from tests.protocols.imap_dialogue import GOODBYE, GREETING, LOGIN, appended, done, listed, looked
from tests.protocols.scripted import GARBAGE, Peer, Scripted, Step, close, drip, hang, hear, reset, say, send
from tests.protocols.smtp_dialogue import SESSION, STAGES, session

MESSAGES, REMOTES = "/api/v1/messages", "/api/v2/identities/remotes"
OTHER = "other@elsewhere.example"
_BOUND_S = 15.0  # far above what an attempt may take
impatient = pytest.mark.configured(network={"command_timeout_s": 0.25})


@dataclass(frozen=True)
class Outcome:
    """What an order comes to: the status of the answer, what is stored, and words of ``last_error``."""

    status: int
    state: str
    smtp_code: int | None
    words: str | None
    recipients: Sequence[str] = ("queued",)


LATER = Outcome(202, "queued", None, "")
FAILED = Outcome(424, "failed", None, "", ("rejected",))
SENT = Outcome(200, "sent", 250, None, ("accepted",))


@pytest.fixture
def dialogue() -> list[Step]:
    """What the server plays on its next connections; the test fills it."""
    return []


@pytest.fixture
async def server(dialogue: list[Step], server_tls: ssl.SSLContext) -> AsyncIterator[Scripted]:
    """A server that misbehaves."""
    async with Scripted(dialogue, server_tls) as scripted:
        yield scripted


@pytest.fixture
def settings(
    settings: dict[str, Any], server: Scripted, table: dict[str, Scripted], ca_file: Path
) -> dict[str, Any]:
    """The configuration, which allows those servers, and no checks that would visit them."""
    settings["accounts"]["local_domain"] = "gateway.example"
    settings["network"]["ports"] += [each.port for each in (server, *table.values())]
    settings["network"] = {"command_timeout_s": 5, "ca_file": str(ca_file)} | settings["network"]
    return settings | {"checks": {"poll_s": 60}}


async def added(user: Client, port: int) -> str:
    """Add ME with an SMTP server at that port of loopback; return the identity_id."""
    account = {
        "protocol": "smtp",
        "identifier": ME.address,
        "infos": {"outserver": f"127.0.0.1:{port}", "outtls": "starttls"},
        "credentials": {"inusername": ME.address, "inpassword": ME.password},
    }
    identity_id: str = (await user.post(REMOTES, account)).json["identity_id"]
    return identity_id


async def sent(user: Client, identity_id: str, *recipients: str) -> tuple[Reply, dict[str, Any]]:
    """Send a message on behalf of an identity; return the answer and the message as it is stored then."""
    message_id = await user.draft(identity_id, *recipients)
    async with asyncio.timeout(_BOUND_S):
        reply = await user.send(message_id)
    return reply, (await user.get(f"{MESSAGES}/{message_id}")).json


def assert_outcome(reply: Reply, message: dict[str, Any], outcome: Outcome) -> None:
    """Assert that answer and message are as the outcome says, and that the next attempt is due in time."""
    delivery = message["delivery"]
    recipients = list(delivery["recipients"].values())
    assert (reply.status, delivery["state"]) == (outcome.status, outcome.state), delivery
    assert [each["state"] for each in recipients] == list(outcome.recipients)
    assert recipients[-1]["smtp_code"] == outcome.smtp_code
    if outcome.words is None:
        assert delivery["last_error"] is None
    else:
        assert outcome.words in delivery["last_error"]
    if reply.status == 424:
        assert reply.json["detail"] == delivery["last_error"]
    assert message["is_draft"] is (outcome.state == "failed")
    if outcome.state == "queued":
        wait = datetime.fromisoformat(delivery["next_attempt_at"]) - datetime.now(UTC)
        assert timedelta(seconds=30) < wait <= timedelta(seconds=66)  # a minute, give or take a tenth
    else:
        assert delivery["next_attempt_at"] is None


# -- the table ---------------------------------------------------------------------------------------------------


Row = tuple[list[Step], Outcome]


def every(*then: Step, outcome: Outcome, stages: Sequence[str] = STAGES, **others: Outcome) -> dict[str, Row]:
    """Return a row for each stage at which the server does that; ``others`` have another outcome."""
    return {stage: (session(stage, *then), others.get(stage.replace(" ", "_"), outcome)) for stage in stages}


def altered(outcome: Outcome, **changes: Sequence[Step]) -> Row:
    """Return a row for a session that goes to its end with other steps at some stages."""
    return [step for stage, part in SESSION.items() for step in changes.get(stage.replace(" ", "_"), part)], outcome


COMMANDS = [stage for stage in STAGES if stage != "handshake"]
IN_TIME, LOST = replace(LATER, words="in time"), replace(LATER, words="was closed by the server")
SPAM = Outcome(424, "failed", 554, "5.7.1 no", ("rejected",))
LEAVE: list[Step] = [hear("QUIT$"), say("221 bye"), close]
EHLO_AFTER_TLS = SESSION["EHLO after TLS"][0]
FAULTS: dict[str, dict[str, Row]] = {
    "hang": every(hang, outcome=IN_TIME, handshake=LATER),
    "a byte now and then": every(drip(b"250-x\r\n"), outcome=IN_TIME, stages=["greeting", "RCPT", "final dot"]),
    "close": every(close, outcome=LOST, handshake=LATER),
    "reset": every(reset, outcome=LOST, handshake=LATER),
    "garbage": every(send(GARBAGE), hang, outcome=LATER, stages=COMMANDS),
    "421": every(say("421 4.3.2 busy"), close, outcome=Outcome(202, "queued", 421, "4.3.2 busy"), stages=COMMANDS),
    "4yz": every(
        say("451 4.7.1 greylisted"),
        *LEAVE,
        outcome=Outcome(202, "queued", 451, "4.7.1 greylisted"),
        stages=COMMANDS[1:],
    ),
    "5yz": every(
        say("554 5.7.1 no"),
        *LEAVE,
        outcome=SPAM,
        stages=COMMANDS,
        STARTTLS=replace(LATER, words="offers no STARTTLS"),
        AUTH=replace(SPAM, words="does not take this user name and password"),
    ),
    "what a server cannot do": {
        "STARTTLS": altered(
            replace(LATER, words="offers no STARTTLS"), EHLO=[hear("EHLO"), say("250 here"), *LEAVE]
        ),
        "AUTH": altered(
            replace(FAILED, words="offers no sign-in"),
            EHLO_after_TLS=[EHLO_AFTER_TLS, say("250 here"), *LEAVE],
        ),
        "AUTH that we know": altered(
            replace(FAILED, words="offers no way to sign in"),
            EHLO_after_TLS=[EHLO_AFTER_TLS, say("250-here", "250 AUTH GSSAPI"), *LEAVE],
        ),
        "SIZE and 8BITMIME": altered(
            SENT,
            EHLO_after_TLS=[EHLO_AFTER_TLS, say("250-here", "250 AUTH PLAIN")],
            MAIL=[hear("MAIL FROM:<[^>]*>$"), say("250 OK")],
        ),
    },
    "QUIT": {"reset": altered(SENT, QUIT=[hear("QUIT$"), reset]), "close": altered(SENT, QUIT=[close])},
}


SLOW = ("hang", "a byte now and then")


@pytest.fixture
async def table(server_tls: ssl.SSLContext, request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Scripted]]:
    """A server for each row of a fault, by the stage; none where the test asks for no fault."""
    rows = FAULTS[request.param] if hasattr(request, "param") else {}
    async with AsyncExitStack() as stack:
        yield {
            stage: await stack.enter_async_context(Scripted(steps, server_tls))
            for stage, (steps, _) in rows.items()
        }


@pytest.mark.parametrize(
    ("table", "fault"),
    [pytest.param(each, each, id=each, marks=[impatient] if each in SLOW else []) for each in FAULTS],
    indirect=["table"],
)
async def test_fault(user: Client, server: Scripted, table: dict[str, Scripted], fault: str) -> None:
    """For each fault at each stage: the answer, the state that is stored, and when it is tried again."""
    identity_id = await added(user, server.port)
    for stage, (_, outcome) in FAULTS[fault].items():
        patch = {"infos": {"outserver": f"127.0.0.1:{table[stage].port}"}}
        assert (await user.call("PATCH", f"{REMOTES}/{identity_id}", patch)).status == 204
        reply, message = await sent(user, identity_id)
        assert_outcome(reply, message, outcome)
        assert table[stage].connections == message["delivery"]["attempts"] == 1, stage


async def test_no_server(user: Client) -> None:
    """Where nobody listens, the order stays: the server may be back in a minute."""
    reply, message = await sent(user, await added(user, CLOSED_PORT))
    assert_outcome(reply, message, replace(LATER, words="Are host and port right?"))


@pytest.mark.configured(network={"allow": []})
async def test_a_host_that_is_not_allowed(user: Client, server: Scripted) -> None:
    """A server in a network that the configuration does not allow is never connected to, and the order fails."""
    reply, message = await sent(user, await added(user, server.port))
    assert_outcome(reply, message, replace(FAILED, words="127.0.0.1"))
    assert server.connections == 0


@pytest.mark.configured(network={"ca_file": ""})
async def test_an_untrusted_certificate(user: Client, server: Scripted, dialogue: list[Step]) -> None:
    """A certificate that does not verify keeps the order: it may be renewed. Such a server hears no password."""
    dialogue.extend(session("EHLO after TLS"))
    reply, message = await sent(user, await added(user, server.port))
    assert_outcome(reply, message, replace(LATER, words="is not trusted"))
    assert server.heard == ["EHLO gateway.example", "STARTTLS"]


async def test_addresses_that_the_server_cannot_take(user: Client, server: Scripted, dialogue: list[Step]) -> None:
    """A server without SMTPUTF8 is no way to an address that is not ASCII: the order fails, and says why."""
    dialogue.extend(session("AUTH", say("235 welcome"), *LEAVE))
    reply, message = await sent(user, await added(user, server.port), "jürgen@elsewhere.example")
    assert_outcome(reply, message, replace(FAILED, words="no SMTPUTF8"))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("550 5.1.1 unknown", Outcome(200, "sent", 550, None, ("accepted", "rejected"))),
        ("451 4.2.0 later", Outcome(202, "queued", 451, "4.2.0 later", ("accepted", "queued"))),
    ],
)
async def test_some_recipients(
    user: Client, server: Scripted, dialogue: list[Step], answer: str, outcome: Outcome
) -> None:
    """Some recipients get it now; the others never, or they alone are tried again."""
    both = [hear(f"RCPT TO:<{FRIEND.address}>"), say("250 OK"), hear(f"RCPT TO:<{OTHER}>"), say(answer)]
    dialogue.extend(step for stage, part in SESSION.items() for step in (both if stage == "RCPT" else part))
    reply, message = await sent(user, await added(user, server.port), FRIEND.address, OTHER)
    assert_outcome(reply, message, outcome)
    assert len(server.messages) == 1


async def test_a_database_that_goes_after_the_order(
    user: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that is durable is answered as one, though the bytes of an earlier one cannot be removed."""

    async def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    message_id = await user.draft(await user.add_remote(provider), "never@elsewhere.example")
    assert (await user.send(message_id)).status == 424
    participants = {"participants": [{"type": "To", "address": FRIEND.address}]}
    assert (await user.call("PATCH", f"{MESSAGES}/{message_id}", participants)).status == 204
    monkeypatch.setattr(MongoRaws, "delete", away)
    assert (await user.send(message_id)).status == 200


# -- attempts that were cut off ----------------------------------------------------------------------------------

GMAIL = [*GREETING, hear("LOGIN "), say("{tag} OK [CAPABILITY IMAP4rev1 X-GM-EXT-1] welcome")]
GMAIL_SENT = listed(r'(\Sent) "/" "All sent"')


async def cut_off(user: Client, mongo: Mongo, identity_id: str, **delivery: Any) -> str:
    """Order a message, and store what an attempt leaves whose gateway died; return its id when it is due."""
    message_id = await user.draft(identity_id, FRIEND.address, OTHER)
    later = datetime.now(UTC) + timedelta(days=1)
    assert (await user.send(message_id, send_at=later.isoformat())).status == 202
    left = {"state": "sending", "attempts": 1, "owner": "the dead", "due_at": datetime.now(UTC)} | delivery
    change = {"$set": {f"delivery.{key}": value for key, value in left.items()}}
    await mongo.collection("messages").update_one({"message_id": message_id}, change)
    return message_id


async def ended(user: Client, message_id: str, attempts: int = 2) -> dict[str, Any]:
    """Return the delivery when so many attempts have ended and nothing is on its way any more."""
    async with asyncio.timeout(_BOUND_S):
        while True:
            delivery: dict[str, Any] = (await user.get(f"{MESSAGES}/{message_id}")).json["delivery"]
            if delivery["attempts"] == attempts and delivery["state"] != "sending":
                return delivery
            await asyncio.sleep(0.01)


def at_first(*steps: Step) -> Step:
    """Take these steps on the first connection only."""

    async def step(peer: Peer) -> None:
        for each in steps if peer.server.connections == 1 else ():
            await each(peer)

    return step


async def possible_duplicates(user: Client) -> float:
    """Return the counter."""
    text = (await user.request("GET", "/metrics")).content.decode()
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(_COUNTER)]
    return float(value)


_COUNTER = "gateway_delivery_possible_duplicates_total"


@pytest.mark.parametrize("found", [True, False])
async def test_what_sent_tells(
    user: Client, server: Scripted, dialogue: list[Step], provider: Provider, mongo: Mongo, *, found: bool
) -> None:
    """After a cut, Sent at a provider that files by itself tells whether the message is to be sent again."""
    looks = [*GMAIL_SENT, *looked("All sent", " 7" if found else "")]
    dialogue.extend([*GMAIL, at_first(*looks), *GOODBYE])  # and no copy when it was sent again
    identity_id = await user.add_remote(provider, infos=infos(provider, server))
    delivery = await ended(user, await cut_off(user, mongo, identity_id))
    outcomes = {address: each["state"] for address, each in delivery["recipients"].items()}
    if found:
        assert outcomes == {FRIEND.address: "accepted", OTHER: "accepted"}
        assert "Sent folder" in delivery["recipients"][OTHER]["smtp_reply"]
    else:
        assert outcomes == {FRIEND.address: "accepted", OTHER: "rejected"}  # by the server that was asked again
    assert delivery["state"] == "sent"
    assert delivery["last_error"] is None
    assert len(provider.received) == (not found)
    assert await possible_duplicates(user) == (not found)


def infos(provider: Provider, server: Scripted) -> dict[str, str]:
    """Return the servers of an account that sends through the provider and whose mailbox is the scripted server."""
    own: dict[str, str] = remote(provider)["infos"]
    return own | {"inserver": f"{server.host}:{server.port}"}


async def test_a_sent_folder_that_does_not_tell(
    user: Client, server: Scripted, dialogue: list[Step], provider: Provider, mongo: Mongo
) -> None:
    """Where Sent cannot be asked, the message is sent again, and counted."""
    dialogue.append(close)
    identity_id = await user.add_remote(provider, infos=infos(provider, server))
    delivery = await ended(user, await cut_off(user, mongo, identity_id))
    assert delivery["state"] == "sent"
    assert (len(provider.received), await possible_duplicates(user)) == (1, 1)


async def test_a_sent_folder_that_tells_of_another_attempt(
    user: Client, server: Scripted, dialogue: list[Step], provider: Provider, mongo: Mongo
) -> None:
    """What an earlier attempt brought to some is in Sent whatever became of the others: they are tried again."""
    dialogue.append(close)
    identity_id = await user.add_remote(provider, infos=infos(provider, server))
    accepted = {"recipients.1.state": "accepted"}
    delivery = await ended(user, await cut_off(user, mongo, identity_id, **accepted))
    assert delivery["state"] == "sent"
    assert [each.rcpt_tos for each in provider.received] == [(FRIEND.address,)]
    assert await possible_duplicates(user) == 1


def in_turn(*dialogues: Sequence[Step]) -> Step:
    """Take the steps of one dialogue on each connection, in their order."""

    async def step(peer: Peer) -> None:
        for each in dialogues[peer.server.connections - 1]:
            await each(peer)

    return step


async def at_gmail(user: Client, server: Scripted) -> str:
    """Add ME with the scripted server for both, SMTP and IMAP; return the identity_id."""
    where = f"{server.host}:{server.port}"
    servers = {"inserver": where, "outserver": where, "intls": "none", "outtls": "starttls"}
    account = {"protocol": "imap", "identifier": ME.address, "infos": servers}
    credentials = {"inusername": ME.address, "inpassword": ME.password}
    identity_id: str = (await user.post(REMOTES, account | {"credentials": credentials})).json["identity_id"]
    return identity_id


IN_SENT = [*GMAIL, *GMAIL_SENT, *looked("All sent", " 7"), *GOODBYE]
NEVER = "never@elsewhere.example"


async def test_a_connection_lost_after_refusals(
    user: Client, server: Scripted, dialogue: list[Step], mongo: Mongo
) -> None:
    """Who was refused before a cut stays so; who was put off is tried again, whatever Sent tells of others."""
    stored: list[Any] = []

    async def look(_: Peer) -> None:
        (message,) = await mongo.collection("messages").find({}).to_list(2)
        stored.extend((each["state"], each["deferred"]) for each in message["delivery"]["recipients"])

    answers = {FRIEND.address: "250 OK", OTHER: "451 4.2.0 later", NEVER: "550 5.1.1 unknown"}
    three = [step for to, answer in answers.items() for step in (hear(f"RCPT TO:<{to}>$"), say(answer))]
    first = altered(SENT, RCPT=three, final_dot=[SESSION["final dot"][0], look, close])[0]
    alone = altered(SENT, RCPT=[hear(f"RCPT TO:<{OTHER}>$"), say("250 OK")])[0]
    dialogue.append(in_turn(first, IN_SENT, alone, [*GMAIL, *GOODBYE]))
    _, message = await sent(user, await at_gmail(user, server), *answers)
    assert stored == [("queued", False), ("queued", True), ("rejected", False)]  # before the cut
    await make_due(mongo)
    recipients = (await ended(user, message["message_id"], attempts=3))["recipients"]
    outcomes = {address: (each["state"], each["smtp_code"]) for address, each in recipients.items()}
    assert outcomes == {FRIEND.address: ("accepted", None), OTHER: ("accepted", 250), NEVER: ("rejected", 550)}
    assert "Sent folder" in recipients[FRIEND.address]["smtp_reply"]
    assert await possible_duplicates(user) == 0


@pytest.mark.parametrize(
    ("then", "words"),
    [([[close], [close]], "was closed"), ([[*GMAIL, hear("LIST"), close]], "the Sent folder will tell")],
    ids=["nothing answers", "Sent cannot be read"],
)
async def test_a_doubt_that_lasts(
    user: Client, server: Scripted, dialogue: list[Step], mongo: Mongo, *, then: list[list[Step]], words: str
) -> None:
    """While a provider is down after a cut nothing is sent, or counted; when it is back, Sent tells."""
    dialogue.append(in_turn(session("final dot", close), *then, IN_SENT))
    _, message = await sent(user, await at_gmail(user, server))
    await make_due(mongo)
    delivery = await ended(user, message["message_id"])
    assert delivery["state"] == "queued"
    assert words in delivery["last_error"]
    await make_due(mongo)
    delivery = await ended(user, message["message_id"], attempts=3)
    assert (delivery["state"], delivery["last_error"]) == ("sent", None)
    assert len(server.messages) == 1
    assert await possible_duplicates(user) == 0


async def test_a_cut_without_a_mailbox(user: Client, provider: Provider, mongo: Mongo) -> None:
    """An account without a mailbox has nobody to tell: the message is sent again, and counted."""
    identity_id = (await user.local_identity())["identity_id"]
    assert (await ended(user, await cut_off(user, mongo, identity_id)))["state"] == "sent"
    assert (len(provider.received), await possible_duplicates(user)) == (1, 1)


@pytest.mark.parametrize("fault", [[close], [reset], [send(GARBAGE), close]], ids=["close", "reset", "garbage"])
async def test_a_connection_lost_at_the_end(
    user: Client, server: Scripted, dialogue: list[Step], mongo: Mongo, *, fault: list[Step]
) -> None:
    """A server that had the whole message and did not answer may have taken it: sending it again is counted."""
    dialogue.extend(session("final dot", *fault))
    _, message = await sent(user, await added(user, server.port))
    assert await possible_duplicates(user) == 0
    dialogue[:] = altered(SENT)[0]
    await make_due(mongo)
    assert (await ended(user, message["message_id"]))["state"] == "sent"
    assert await possible_duplicates(user) == 1


@pytest.mark.parametrize("stage", ["MAIL", "DATA"])
async def test_a_connection_lost_before_the_end(
    user: Client, server: Scripted, dialogue: list[Step], mongo: Mongo, *, stage: str
) -> None:
    """A server that never had the whole message cannot have taken it: nothing is counted."""
    dialogue.extend(session(stage, close))
    _, message = await sent(user, await added(user, server.port))
    dialogue[:] = altered(SENT)[0]
    await make_due(mongo)
    assert (await ended(user, message["message_id"]))["state"] == "sent"
    assert await possible_duplicates(user) == 0


async def make_due(mongo: Mongo) -> None:
    """Let what waits for its next attempt be tried now."""
    await mongo.collection("messages").update_many(
        {"delivery.state": "queued"}, {"$currentDate": {"delivery.due_at": True}}
    )


# -- the copy in Sent --------------------------------------------------------------------------------------------

FILING = [*GREETING, *LOGIN, *listed(r'(\Sent) "/" Sent'), *looked("Sent")]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([*FILING, *appended("Sent", "NO [OVERQUOTA] full"), *GOODBYE], "full"),
        ([*FILING, *done("APPEND", "NO [NOPERM] not yours"), *GOODBYE], "not yours"),
        ([*GREETING, hear("LOGIN "), say("{tag} NO [AUTHENTICATIONFAILED] no"), *GOODBYE], "name and password"),
        ([*FILING, hear("APPEND "), close], "was closed by the server"),
        pytest.param([*FILING, hear("APPEND "), hang], "in time", marks=impatient),
        ([say("* BYE [UNAVAILABLE] busy"), close], "busy"),
    ],
    ids=["full", "forbidden", "sign-in", "close", "hang", "BYE"],
)
async def test_a_copy_that_cannot_be_filed(
    user: Client, server: Scripted, dialogue: list[Step], provider: Provider, *, steps: list[Step], words: str
) -> None:
    """Whatever the mailbox does, the message is sent; what is wrong with the copy is shown, and tried again."""
    dialogue.extend(steps)
    identity_id = await user.add_remote(provider, infos=infos(provider, server))
    message_id = await user.draft(identity_id)
    assert (await user.send(message_id)).status == 200
    async with asyncio.timeout(_BOUND_S):
        while not (delivery := (await user.get(f"{MESSAGES}/{message_id}")).json["delivery"])["last_error"]:
            await asyncio.sleep(0.01)
    assert (delivery["state"], delivery["attempts"]) == ("sent", 1)
    assert delivery["last_error"].startswith("Sent, but no copy could be put into the Sent folder: ")
    assert words in delivery["last_error"]
    assert len(provider.received) == 1


async def test_a_copy_at_a_provider_that_files_by_itself(
    user: Client, server: Scripted, dialogue: list[Step], provider: Provider, mongo: Mongo
) -> None:
    """A provider that files by itself gets no second copy, and nothing is left to do."""
    dialogue.extend([*GMAIL, *GOODBYE])
    identity_id = await user.add_remote(provider, infos=infos(provider, server))
    assert (await user.send(await user.draft(identity_id))).status == 200
    async with asyncio.timeout(_BOUND_S):
        while await mongo.collection("messages").find_one({"delivery.due_at": {"$exists": True}}):
            await asyncio.sleep(0.01)
    assert server.connections == 1
    assert server.messages == []
