"""IMAP: against another provider, against Dovecot, and what is said in which case."""

from __future__ import annotations

import asyncio
import imaplib
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from gateway.errors import Deferred, Insecure, Refused, SignInRefused, Unreachable, Untrusted
from gateway.identity import SignIn, TLSMode
from tests.conftest import ME as ACCOUNT
from tests.protocols.conftest import Reach, at
from tests.protocols.dovecot import Dovecot
from tests.protocols.imap_dialogue import (
    DATE,
    GOODBYE,
    GREETING,
    MESSAGE,
    SIGN_IN,
    appended,
    done,
    file_sent,
    filing,
    has_sent,
    listed,
    looked,
    probe,
)
from tests.protocols.scripted import (
    Scripted,
    close,
    hear,
    say,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def read(client: imaplib.IMAP4, sign_in: SignIn, folder: str) -> list[tuple[bytes, bytes]]:
    """Return what FETCH says of each message in a folder, and its bytes; by a client that is not ours."""
    with client:
        client.authenticate("PLAIN", lambda _: f"\0{sign_in.username}\0{sign_in.secret}".encode())
        client.select(folder, readonly=True)
        parts = client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
        return [(part[0], part[1]) for part in parts if isinstance(part, tuple)]


def assert_filed(found: Sequence[tuple[bytes, bytes]], raw: bytes = MESSAGE) -> None:
    """Assert that a folder holds one copy, unchanged, seen, and dated as ordered."""
    [(told, data)] = found
    assert data == raw
    assert rb"\Seen" in told
    dated = imaplib.Internaldate2tuple(told)
    assert dated is not None
    assert datetime(*dated[:6]).astimezone(UTC) == DATE  # of local time


# -- another provider --------------------------------------------------------------------------------------------


async def test_copy_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A copy lies in Sent, found by its name, byte for byte, seen, and with the date of the message."""
    assert await file_sent(reach, at(provider.imap_port, sign_in=SIGN_IN)) == "Sent"
    client = await asyncio.to_thread(imaplib.IMAP4, provider.host, provider.imap_port, 5)
    assert_filed(await asyncio.to_thread(read, client, SIGN_IN, "Sent"))


async def test_probe_of_another_provider(provider: Provider, reach: Reach) -> None:
    """A probe tells UIDVALIDITY, unseen messages, the last UID, capabilities and the Sent folder."""
    found = await probe(reach, at(provider.imap_port, sign_in=SIGN_IN))
    assert int(found["uidvalidity"]) > 0
    assert (found["unseen"], found["sentfolder"]) == ("0", "Sent")
    assert "IMAP4rev1" in found["capabilities"].split()
    assert set(found) == {"uidvalidity", "unseen", "lastseenuid", "sentfolder", "capabilities"}


async def test_wrong_password_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A wrong password is SignInRefused, permanent, and is not in the error."""
    with pytest.raises(SignInRefused) as caught:
        await probe(reach, at(provider.imap_port, sign_in=SignIn(ACCOUNT.address, "wr0ng")))
    assert not caught.value.temporary
    assert "wr0ng" not in str(caught.value)


async def test_no_starttls_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A server without STARTTLS is Insecure, temporary."""
    with pytest.raises(Insecure, match="no STARTTLS") as caught:
        await probe(reach, at(provider.imap_port, TLSMode.STARTTLS, SIGN_IN))
    assert caught.value.temporary


# -- Dovecot -----------------------------------------------------------------------------------------------------


@pytest.fixture
def somebody() -> SignIn:
    """A user of Dovecot that no other test has, with a name that needs quoting."""
    return SignIn(f'ü "{uuid4().hex}"', Dovecot.password)


elsewhere = pytest.mark.allow_hosts([Dovecot.host, Dovecot.other_host])
Reader = Callable[[str], list[tuple[bytes, bytes]]]


@pytest.fixture
def in_dovecot(dovecot: Dovecot, somebody: SignIn, client_tls: ssl.SSLContext) -> Reader:
    def messages(folder: str) -> list[tuple[bytes, bytes]]:
        client = imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5)
        return read(client, somebody, folder)

    return messages


async def test_dovecot_by_implicit_tls(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader
) -> None:
    """With TLS from the first byte a copy lies in the folder whose special use is Sent, whatever its name."""
    assert await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody)) == "Ausgang"
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"))


@elsewhere
async def test_dovecot_by_starttls(dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader) -> None:
    """With STARTTLS it does too, where no sign-in is offered before TLS."""
    endpoint = at(dovecot.port, TLSMode.STARTTLS, somebody, dovecot.other_host)
    assert await file_sent(reach, endpoint) == "Ausgang"
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"))


@elsewhere
async def test_dovecot_without_tls(dovecot: Dovecot, reach: Reach, somebody: SignIn) -> None:
    """Where the sign-in is disabled without TLS, an account without TLS is Insecure."""
    with pytest.raises(Insecure, match="TLS before the sign-in"):
        await probe(reach, at(dovecot.port, TLSMode.NONE, somebody, dovecot.other_host))


async def test_probe_of_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, client_tls: ssl.SSLContext
) -> None:
    """A probe tells what STATUS does, the capabilities after the sign-in, and changes nothing."""

    def prepare() -> str:
        with imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5) as client:
            client.authenticate("PLAIN", lambda _: f"\0{somebody.username}\0{somebody.secret}".encode())
            for flags in ("", r"\Seen", ""):
                client.append("INBOX", flags, "", MESSAGE)
            return repr(client.status("INBOX", "(UIDVALIDITY)")[1])

    prepared = await asyncio.to_thread(prepare)
    for _ in range(2):
        found = await probe(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody))
        assert (found["unseen"], found["lastseenuid"]) == ("2", "3")
        assert f"UIDVALIDITY {found['uidvalidity']})" in prepared
        assert found["sentfolder"] == "Ausgang"
        assert {"IMAP4rev1", "SPECIAL-USE"} <= set(found["capabilities"].split())


@pytest.mark.parametrize("tls", [TLSMode.IMPLICIT, TLSMode.STARTTLS])
async def test_wrong_password_at_dovecot(dovecot: Dovecot, reach: Reach, tls: TLSMode) -> None:
    """A wrong password is SignInRefused, with what Dovecot says."""
    port = dovecot.tls_port if tls is TLSMode.IMPLICIT else dovecot.port
    with pytest.raises(SignInRefused, match="AUTHENTICATIONFAILED"):
        await probe(reach, at(port, tls, SignIn("me", "wr0ng")))


@pytest.mark.parametrize("tls", [TLSMode.IMPLICIT, TLSMode.STARTTLS])
async def test_unknown_authority_of_dovecot(dovecot: Dovecot, reach: Reach, tls: TLSMode) -> None:
    """A certificate of an authority that nobody trusts is Untrusted, temporary."""
    port = dovecot.tls_port if tls is TLSMode.IMPLICIT else dovecot.port
    with pytest.raises(Untrusted, match="not trusted") as caught:
        await probe(reach, at(port, tls), ca_file="")
    assert caught.value.temporary


async def test_many_folders_in_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, client_tls: ssl.SSLContext
) -> None:
    """Sent is found among many folders, with names of every kind."""

    def prepare() -> None:
        with imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5) as client:
            client.authenticate("PLAIN", lambda _: f"\0{somebody.username}\0{somebody.secret}".encode())
            for number in range(200):
                client.create(f'"a &AOk- \\"{number}\\" * ()"')

    await asyncio.to_thread(prepare)
    assert await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody)) == "Ausgang"


async def test_large_message_in_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader
) -> None:
    """A copy of 20 MB is filed as it is."""
    raw = MESSAGE + b"0123456789abcdef" * 64 * 1024 * 20 + b"\r\n"
    await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody), raw)
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"), raw)


# -- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "name", "shown"),
    [
        ((r'(\Sent) "/" {14}', 'a "new" folder'), r"a \\\"new\\\" folder", 'a "new" folder'),
        ((r"() NIL &BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",), "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-", "Отправленные"),
        ((r'(\Sent) "\\" "INBOX\\Sent"',), r"INBOX\\\\Sent", r"INBOX\Sent"),
    ],
)
async def test_unusual_names(reach: Reach, lines: tuple[str, ...], name: str, shown: str) -> None:
    """The name of a folder is said as the server wrote it, quoted, and shown decoded."""
    listing = [hear("LIST"), say(f"* LIST {lines[0]}", *lines[1:], "{tag} OK done")]
    async with Scripted(filing(*listing, *looked(name), *appended(name))) as server:
        assert await file_sent(reach, at(server.port)) == shown


async def test_thousands_of_folders(reach: Reach) -> None:
    """Sent is found behind twenty thousand other folders."""
    names = [rf'(\HasNoChildren) "/" "Projects/Archive/Customer number {n}"' for n in range(20_000)]
    async with Scripted(
        filing(*listed(*names, r'() "/" "Sent Items"'), *looked("Sent Items"), *appended("Sent Items"))
    ) as server:
        assert await file_sent(reach, at(server.port)) == "Sent Items"


async def test_special_use_is_asked_for(reach: Reach) -> None:
    """Where a server has extended LIST, special uses are asked for (RFC 6154 §2)."""
    dialogue = [
        *GREETING,
        hear("LOGIN "),
        say("{tag} OK [CAPABILITY IMAP4rev1 LIST-EXTENDED SPECIAL-USE] welcome"),
        hear(r'LIST "" "\*" RETURN \(SPECIAL-USE\)$'),
        say(r'* LIST (\Sent) "/" Ausgang', "{tag} OK done"),
        *looked("Ausgang"),
        *appended("Ausgang"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"


async def test_unsolicited_responses(reach: Reach) -> None:
    """What a server says unasked at any time changes nothing (RFC 3501 §7)."""
    noise = ("* 3 EXISTS", "* 0 RECENT", "* OK [ALERT] maintenance tonight", "* FLAGS (\\Seen)")
    dialogue = [
        say("* OK ready", *noise),
        hear("CAPABILITY$"),
        say(*noise, "* CAPABILITY IMAP4rev1", *noise, "{tag} OK done"),
        hear("LOGIN "),
        say(*noise, "{tag} OK welcome"),
        hear("CAPABILITY$"),
        say(*noise, "* CAPABILITY IMAP4rev1 UIDPLUS", "{tag} OK done"),
        hear("STATUS INBOX"),
        say(*noise, "* STATUS {5}", "INBOX (UIDVALIDITY 5 UNSEEN 1)", *noise, "{tag} OK done"),
        hear("LIST"),
        say(*noise, '* LIST () "/" Sent', *noise, "{tag} OK done"),
        hear("LOGOUT$"),
        say("* BYE bye", "{tag} OK done"),
    ]
    async with Scripted(dialogue) as server:
        found = await probe(reach, at(server.port))
    assert found == {"uidvalidity": "5", "unseen": "1", "capabilities": "IMAP4rev1 UIDPLUS", "sentfolder": "Sent"}


async def test_missing_sent_folder(reach: Reach) -> None:
    """Where there is no Sent folder it is created and subscribed to."""
    steps = [*listed('() "/" INBOX'), *done('CREATE "Sent"$'), *done('SUBSCRIBE "Sent"$'), *appended("Sent")]
    async with Scripted(filing(*steps)) as server:
        assert await file_sent(reach, at(server.port)) == "Sent"


async def test_missing_sent_folder_below_inbox(reach: Reach) -> None:
    """Where a person's folders lie below INBOX, Sent is created there (RFC 2342)."""
    dialogue = [
        *GREETING,
        hear("LOGIN "),
        say("{tag} OK [CAPABILITY IMAP4rev1 NAMESPACE] welcome"),
        *listed('() "." INBOX'),
        hear("NAMESPACE$"),
        say('* NAMESPACE (("INBOX." ".")) NIL NIL', "{tag} OK done"),
        *done(r'CREATE "INBOX\.Sent"$'),
        *done(r'SUBSCRIBE "INBOX\.Sent"$', "NO no"),
        *appended(r"INBOX\.Sent"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        assert await file_sent(reach, at(server.port)) == "INBOX.Sent"


async def test_sent_folder_created_meanwhile(reach: Reach) -> None:
    """A Sent folder that another session has just created is as good (RFC 5530, ALREADYEXISTS)."""
    creating = [*done("CREATE", "NO [ALREADYEXISTS] it is there"), *done("SUBSCRIBE")]
    async with Scripted(filing(*listed(), *creating, *appended("Sent"))) as server:
        assert await file_sent(reach, at(server.port)) == "Sent"


async def test_sent_folder_that_cannot_be_created(reach: Reach) -> None:
    """A server that lets nobody create folders refuses the copy."""
    async with Scripted(filing(*listed(), *done("CREATE", "NO [NOPERM] no"))) as server:
        with pytest.raises(Refused, match="CREATE of Sent"):
            await file_sent(reach, at(server.port))


@pytest.mark.parametrize("at_once", [True, False])
async def test_trycreate(reach: Reach, at_once: bool) -> None:
    """A folder that has gone since it was listed is created again (RFC 3501 §6.3.11)."""
    refusal = "NO [TRYCREATE] no such mailbox"
    first = done('APPEND "Ausgang"', refusal) if at_once else appended("Ausgang", refusal)
    creating = [*done('CREATE "Ausgang"$'), *done("SUBSCRIBE")]
    steps = [*listed(r'(\Sent) "/" Ausgang'), *looked("Ausgang"), *first, *creating, *appended("Ausgang")]
    async with Scripted(filing(*steps)) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"
    assert server.messages[-1] == MESSAGE


async def test_probe_without_sent_folder(reach: Reach) -> None:
    """A probe creates no folder: an account without Sent has no sentfolder."""
    status = [hear("STATUS INBOX"), say("* STATUS INBOX (UNSEEN 3 UIDNEXT 8 UIDVALIDITY 9)", "{tag} OK done")]
    async with Scripted(filing(*status, *listed('() "/" INBOX'))) as server:
        found = await probe(reach, at(server.port))
    assert found == {"uidvalidity": "9", "unseen": "3", "lastseenuid": "7", "capabilities": "IMAP4rev1"}


# -- what is in Sent already ---------------------------------------------------------------------------------------

OTHER = MESSAGE.replace(b"c0ffee", b"another")


async def test_filed_once_at_another_provider(provider: Provider, reach: Reach) -> None:
    """Filing the same message again, as after a crash, adds no second copy; another message is filed."""
    for raw in (OTHER, MESSAGE, MESSAGE):
        assert await file_sent(reach, at(provider.imap_port, sign_in=SIGN_IN), raw) == "Sent"
    client = await asyncio.to_thread(imaplib.IMAP4, provider.host, provider.imap_port, 5)
    assert [data for _, data in await asyncio.to_thread(read, client, SIGN_IN, "Sent")] == [OTHER, MESSAGE]


async def test_filed_once_in_dovecot(dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader) -> None:
    """It does not in Dovecot either."""
    for raw in (OTHER, MESSAGE, MESSAGE):
        await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody), raw)
    assert [data for _, data in await asyncio.to_thread(in_dovecot, "Ausgang")] == [OTHER, MESSAGE]


@pytest.mark.parametrize("found", [" 7", " 7 1234567", " 7 "])
async def test_found_in_sent(reach: Reach, found: str) -> None:
    """Nothing is appended where the search finds the message."""
    async with Scripted(filing(*listed(r'(\Sent) "/" Ausgang'), *looked("Ausgang", found))) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"
    assert server.messages == []


@pytest.mark.parametrize("refused", ["EXAMINE", "SEARCH"])
async def test_a_search_that_is_refused(reach: Reach, refused: str) -> None:
    """A server that lets nobody search gets the copy: rather two than none."""
    looks = {"EXAMINE": [], "SEARCH": done("EXAMINE")}[refused]
    steps = [*listed(r'(\Sent) "/" Ausgang'), *looks, *done(refused, "NO [CANNOT] no"), *appended("Ausgang")]
    async with Scripted(filing(*steps)) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"
    assert server.messages == [MESSAGE]


async def test_a_search_that_is_put_off(reach: Reach) -> None:
    """A server that cannot search just now gets no copy yet."""
    steps = [*listed(r'(\Sent) "/" Ausgang'), *done("EXAMINE", "NO [INUSE] later")]
    async with Scripted(filing(*steps)) as server:
        with pytest.raises(Deferred, match="a look into Ausgang"):
            await file_sent(reach, at(server.port))
    assert server.messages == []


# -- providers that file by themselves -----------------------------------------------------------------------------

GMAIL = [*GREETING, hear("LOGIN "), say("{tag} OK [CAPABILITY IMAP4rev1 X-GM-EXT-1] welcome")]
GMAIL_SENT = r'(\HasNoChildren \Sent) "/" "[Gmail]/Gesendet"'


async def test_no_copy_at_gmail(reach: Reach) -> None:
    """Gmail, known by its extension, gets no copy: it has filed one."""
    async with Scripted([*GMAIL, *GOODBYE]) as server:
        assert await file_sent(reach, at(server.port)) is None


@pytest.mark.parametrize(("found", "has"), [(" 7", True), ("", False)])
async def test_gmail_tells_what_was_sent(reach: Reach, found: str, has: bool) -> None:
    """Gmail's Sent tells whether a message was sent."""
    dialogue = [*GMAIL, *listed(GMAIL_SENT), *looked(r"\[Gmail\]/Gesendet", found), *GOODBYE]
    async with Scripted(dialogue) as server:
        assert await has_sent(reach, at(server.port)) is has


async def test_gmail_without_sent(reach: Reach) -> None:
    """A Gmail account that hides Sent from IMAP tells nothing."""
    async with Scripted([*GMAIL, *listed('() "/" INBOX'), *GOODBYE]) as server:
        assert await has_sent(reach, at(server.port)) is None


async def test_gmail_that_refuses_to_search(reach: Reach) -> None:
    """A Sent folder that cannot be searched tells nothing."""
    looking = [hear("EXAMINE"), say("{tag} NO [NOPERM] no")]
    async with Scripted([*GMAIL, *listed(GMAIL_SENT), *looking, *GOODBYE]) as server:
        assert await has_sent(reach, at(server.port)) is None


async def test_gmail_that_breaks_off(reach: Reach) -> None:
    """Where a provider that is known to file by itself cannot be asked, it may tell another time."""
    async with Scripted([*GMAIL, hear("LIST"), close]) as server:
        with pytest.raises(Unreachable):
            await has_sent(reach, at(server.port))


@pytest.mark.parametrize("known", [True, False])
async def test_a_provider_that_is_away(reach: Reach, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
    """A host that is known by its name may tell another time; of any other nobody knows whether it ever does."""
    monkeypatch.setattr("protocols.imap.files_sent", lambda _: known)
    async with Scripted([close]) as server:
        if known:
            with pytest.raises(Unreachable):
                await has_sent(reach, at(server.port))
        else:
            assert await has_sent(reach, at(server.port)) is None


async def test_other_providers_tell_nothing(provider: Provider, reach: Reach) -> None:
    """Where we file the copies, after the sending, Sent does not tell whether a message was sent."""
    endpoint = at(provider.imap_port, sign_in=SIGN_IN)
    await file_sent(reach, endpoint)
    assert await has_sent(reach, endpoint) is None


async def test_a_provider_known_by_its_host(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that the data file knows to file by itself gets no copy, and is asked what was sent."""
    endpoint = at(dovecot.tls_port, TLSMode.IMPLICIT, somebody)
    await file_sent(reach, endpoint)
    monkeypatch.setattr("protocols.imap.files_sent", lambda host: host == endpoint.host)
    assert await has_sent(reach, endpoint)
    assert await has_sent(reach, endpoint, "another@elsewhere.example") is False
    assert await file_sent(reach, endpoint, OTHER) is None
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"))
