"""``mail-gateway domains``, on the database of a gateway at work."""

from __future__ import annotations

import json

import pytest

from gateway.roles import Role
from storage.mongo import Mongo
from tests.api.commands.conftest import Command
from tests.client import PASSWORD, Client

GOOD, BAD = "good.ok.test", "bad.dns.test"


@pytest.fixture
async def owner(user: Client) -> Client:
    """A user who owns two domains, both checked."""
    for name in (GOOD, BAD):
        await user.post("/api/v2/domains", {"name": name})
        await user.post(f"/api/v2/domains/{name}/actions", {"actions": ["check"]})
    return user


async def username(client: Client) -> str:
    """Return the client's user name."""
    name: str = (await client.get("/api/v1/me")).json["username"]
    return name


async def test_list(owner: Client, command: Command) -> None:
    """All domains are listed with their status, by name, whoever manages them."""
    assert owner.user_id
    result = await command("domains", "list")
    words = [line.split()[:2] for line in result.stdout.splitlines()]
    assert words.index([BAD, "action_required"]) < words.index([GOOD, "enabled"])
    lines = (await command("domains", "list", "--json")).stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == [BAD, GOOD]


async def test_show(owner: Client, command: Command) -> None:
    """A domain is shown with what is wrong, the whole names of the records to publish, and its managers."""
    shown = (await command("domains", "show", BAD)).stdout
    assert "action_required" in shown
    assert f"imap.{BAD}" in shown
    assert f"dkim._domainkey.{BAD}" in shown
    fault = (await owner.get(f"/api/v2/domains/{BAD}")).json["checks"]["mx"]["errors"][0]
    assert fault["detail"] in shown
    assert await username(owner) in shown
    as_json = json.loads((await command("domains", "show", BAD, "--json")).stdout)
    assert as_json["accesses"] == [{"username": await username(owner), "role": "owner"}]


async def test_check(owner: Client, command: Command) -> None:
    """Domains are checked, what is wrong is told, and the exit code says whether all are enabled."""
    before = (await owner.get(f"/api/v2/domains/{GOOD}")).json["last_check"]
    good = await command("domains", "check", GOOD)
    assert (good.exit_code, good.stdout) == (0, "1 of 1 are enabled.\n")
    assert (await owner.get(f"/api/v2/domains/{GOOD}")).json["last_check"] > before
    everything = await command("domains", "check", "--all")
    assert everything.exit_code == 1
    assert everything.stdout.endswith("1 of 2 are enabled.\n")
    assert BAD in everything.stdout


async def test_check_needs_a_name(command: Command) -> None:
    """Which domains to check has to be said, and only once."""
    assert (await command("domains", "check")).exit_code == 2
    assert (await command("domains", "check", "--all", GOOD)).exit_code == 2


async def test_grant(api: Client, owner: Client, command: Command) -> None:
    """The operator gives a role, and changes it, without having one."""
    other = await api.register("somebody-else")
    for role in Role:
        result = await command("domains", "grant", GOOD, "somebody-else", role.value)
        assert result.exit_code == 0
        assert (await other.get(f"/api/v2/domains/{GOOD}")).json["role"] == role
    lowered = await command("domains", "grant", GOOD, await username(owner), "viewer")
    assert lowered.exit_code == 0, lowered.output
    last = await command("domains", "grant", GOOD, "somebody-else", "viewer")
    assert last.exit_code == 1
    assert "owner" in last.stderr
    assert (await other.get(f"/api/v2/domains/{GOOD}")).json["role"] == "owner"


async def elsewhere(mongo: Mongo, name: str, context: str) -> None:
    """Let the mail backend have a domain that does not come from here."""
    await mongo.collection("fake_domains").insert_one({"_id": name, "context": context, "features": ["alias"]})


async def test_adopt(api: Client, user: Client, mongo: Mongo, command: Command) -> None:
    """The operator hands over a domain that the mail backend has already; with its context, which it keeps."""
    await elsewhere(mongo, GOOD, "zoo")
    await api.register("keeper")
    missing = await command("domains", "adopt", "god.ok.test", "keeper")
    assert (missing.exit_code, "have no domain god.ok.test" in missing.stderr) == (1, True)
    assert await mongo.collection("fake_domains").distinct("_id") == [GOOD]
    wrong = await command("domains", "adopt", GOOD, "keeper")
    assert (wrong.exit_code, "context" in wrong.stderr) == (1, True)
    assert (await command("domains", "adopt", GOOD, "nobody", "--context", "zoo")).exit_code == 1
    assert (await command("domains", "show", GOOD)).exit_code == 1
    assert (await user.post("/api/v2/domains", {"name": GOOD, "context": "zoo"})).status == 409
    done = await command("domains", "adopt", GOOD, "keeper", "--context", "zoo")
    assert (done.exit_code, done.stdout) == (0, f"keeper is owner of {GOOD}.\n")
    keeper = await api.sign_in("keeper")
    domain = (await keeper.post(f"/api/v2/domains/{GOOD}/actions", {"actions": ["check"]})).json
    assert (domain["status"], domain["role"], domain["context"]) == ("enabled", "owner", "zoo")
    assert (await user.get(f"/api/v2/domains/{GOOD}")).status == 404


async def test_adopt_what_is_here(api: Client, owner: Client, mongo: Mongo, command: Command) -> None:
    """Of a domain that was made here while the mail backend was away, and is there from elsewhere."""
    await mongo.collection("domains").update_one({"_id": GOOD}, {"$set": {"ours": False}})
    check = f"/api/v2/domains/{GOOD}/actions", {"actions": ["check"]}
    assert (await owner.post(*check)).json["status"] == "failed"
    await api.register("keeper")
    assert (await command("domains", "adopt", GOOD, "keeper")).exit_code == 0
    assert (await owner.post(*check)).json["status"] == "enabled"
    accesses = (await owner.get(f"/api/v2/domains/{GOOD}/accesses")).json["accesses"]
    assert [each["role"] for each in accesses] == ["owner", "owner"]


async def test_adopt_into_another_context(api: Client, owner: Client, mongo: Mongo, command: Command) -> None:
    """Of such a domain that is in another context there, that one is taken; once it is ours it stays in that."""
    await mongo.collection("domains").update_one({"_id": GOOD}, {"$set": {"ours": False}})
    await mongo.collection("fake_domains").update_one({"_id": GOOD}, {"$set": {"context": "zoo"}})
    await api.register("keeper")
    for wrong in ([], ["--context", "home.example"], ["--context", "farm"]):
        assert (await command("domains", "adopt", GOOD, "keeper", *wrong)).exit_code == 1
    assert (await owner.get(f"/api/v2/domains/{GOOD}")).json["context"] == GOOD
    for _ in range(2):
        assert (await command("domains", "adopt", GOOD, "keeper", "--context", "Zoo")).exit_code == 0
    checked = await owner.post(f"/api/v2/domains/{GOOD}/actions", {"actions": ["check"]})
    assert (checked.json["status"], checked.json["context"]) == ("enabled", "zoo")
    assert (await command("domains", "adopt", GOOD, "keeper", "--context", "farm")).exit_code == 1


async def test_relieve(api: Client, user: Client, command: Command) -> None:
    """Whoever others have made the only owner of a domain is free when the operator gives it another one."""
    junk = "/api/v2/domains/junk.ok.test"
    await user.post("/api/v2/domains", {"name": "junk.ok.test"})
    victim = await api.register("victim")
    await api.register("caretaker")
    await user.post(f"{junk}/invitations", {"email": "victim@home.example", "role": "owner"})
    assert (await user.call("DELETE", f"{junk}/accesses/{user.user_id}")).status == 204
    gone = f"/api/v2/users/{victim.user_id}", {"password": PASSWORD}
    assert (await victim.call("DELETE", *gone)).status == 409
    assert (await command("domains", "grant", "junk.ok.test", "caretaker", "owner")).exit_code == 0
    assert (await victim.call("DELETE", *gone)).status == 204


async def test_adopt_mailbox(owner: Client, mongo: Mongo, command: Command) -> None:
    """A mailbox that is in the way of one of ours is handed over by the operator, and by nobody else."""
    boxes, kept = f"/api/v2/domains/{GOOD}/mailboxes", {"domain": GOOD, "local_part": "desk"}
    await owner.post(boxes, {"local_part": "desk", "first_name": "Front", "last_name": "Desk"})
    await mongo.collection("fake_mailboxes").update_one({}, {"$set": {"mailbox_id": "another's"}})
    await mongo.collection("mailboxes").update_one(kept, {"$set": {"hosted": False, "status": "failed"}})
    actions = f"{boxes}/desk/actions"
    assert (await owner.post(actions, {"actions": ["enable"]})).status == 409
    done = await command("domains", "adopt-mailbox", f"desk@{GOOD.upper()}")
    assert (done.exit_code, done.stdout) == (0, f"desk@{GOOD.upper()} is in use.\n")
    assert (await owner.post(actions, {"actions": ["enable"]})).json["status"] == "enabled"
    for address in (f"nobody@{GOOD}", "desk@missing.ok.test", "desk"):
        assert (await command("domains", "adopt-mailbox", address)).exit_code == 1


async def test_adopt_mailbox_that_is_not_here(owner: Client, mongo: Mongo, command: Command) -> None:
    """A mailbox that the mail backend has, and that is therefore not here, is handed over with its names."""
    stranger = {"_id": f"desk@{GOOD}", "mailbox_id": "another's", "active": True}
    await mongo.collection("fake_mailboxes").insert_one(stranger)
    boxes, names = f"/api/v2/domains/{GOOD}/mailboxes", {"first_name": "Front", "last_name": "Desk"}
    assert (await owner.post(boxes, {"local_part": "desk", **names})).status == 409
    adopt = ["domains", "adopt-mailbox", f"desk@{GOOD}"]
    described = ["--first-name", "Front", "--last-name", "Desk", "--user", await username(owner)]
    for words, told in (
        (adopt, "first and last name"),
        ([*adopt, "--first-name", "Front"], "last_name"),
        ([*adopt, *described, "--secondary-email", "nobody"], "secondary_email"),
        ([*adopt[:2], f"nobody@{GOOD}", *described], "no mailbox"),
    ):
        refused = await command(*words)
        assert (refused.exit_code, told in refused.stderr) == (1, True), refused.output
    assert (await owner.get(boxes)).json["mailboxes"] == []
    done = await command(*adopt, *described, "--secondary-email", "me@elsewhere.example")
    assert (done.exit_code, done.stdout) == (0, f"desk@{GOOD} is in use.\n")
    (there,) = (await owner.get(boxes)).json["mailboxes"]
    assert there["status"] == "enabled"
    assert (there["user_id"], there["secondary_email"]) == (owner.user_id, "me@elsewhere.example")
    locals_ = (await owner.get("/api/v2/identities/locals")).json["local_identities"]
    assert f"desk@{GOOD}" in [each["identifier"] for each in locals_]


@pytest.mark.parametrize("words", [["show"], ["check"], ["key"], ["grant", "someone", "owner"]])
async def test_no_such_domain(user: Client, command: Command, words: list[str]) -> None:
    """A domain that is not there is told of, and nothing is done."""
    assert user.user_id
    for name in ("missing.ok.test", "no domain"):
        result = await command("domains", words[0], name, *words[1:])
        assert result.exit_code == 1
        assert result.stderr.startswith("mail-gateway: There is no ")


async def test_key(owner: Client, command: Command) -> None:
    """The private key is printed in PEM, and fits the public one that is to be published."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - of this test alone

    pem = (await command("domains", "key", GOOD)).stdout.encode()
    key = serialization.load_pem_private_key(pem, None)
    spki = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    public = "".join(spki.decode().splitlines()[1:-1])
    records = (await owner.get(f"/api/v2/domains/{GOOD}")).json["expected_config"]
    assert [record for record in records if record["value"].endswith(f"p={public}")]
