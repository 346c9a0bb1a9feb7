"""SMTP submission: against another provider, and what is said in which case."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from api.demo.provider import Delivery, Provider
from gateway.delivery import Reply
from gateway.errors import Deferred, Insecure, Refused, SignInRefused, Unreachable, Untrusted
from gateway.identity import SignIn, TLSMode
from protocols.smtp import SmtpAdapter
from tests.conftest import FRIEND
from tests.conftest import ME as ACCOUNT
from tests.protocols.conftest import ME, PASSWORD, Reach, at
from tests.protocols.scripted import (
    Peer,
    Scripted,
    close,
    hear,
    say,
    start_tls,
)
from tests.protocols.smtp_dialogue import (
    CLEAR,
    MESSAGE,
    SESSION,
    SIGN_IN,
    TOKEN,
    clear,
    envelope,
    submit,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

# -- another provider --------------------------------------------------------------------------------------------


@pytest.fixture
async def secure(server_tls: ssl.SSLContext) -> AsyncIterator[Provider]:
    """Another provider that wants STARTTLS before the sign-in."""
    async with Provider([ACCOUNT, FRIEND], tls=server_tls) as servers:
        yield servers


async def test_one_recipient(provider: Provider, reach: Reach) -> None:
    """A message arrives byte for byte, in the name of who signed in, with its size declared."""
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN))
    assert replies == {FRIEND.address: Reply(250, "2.0.0 delivered")}
    extensions = (f"SIZE={len(MESSAGE)}",)
    assert provider.received == [Delivery(ACCOUNT.address, (FRIEND.address,), MESSAGE, ACCOUNT.address, extensions)]


async def test_every_recipient_gets_its_own_answer(provider: Provider, reach: Reach) -> None:
    """Of several recipients some are accepted, some refused, some put off; the answers are kept apart."""
    recipients = (ACCOUNT.address, "never@elsewhere.example", FRIEND.address, "later@elsewhere.example")
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN), envelope(*recipients))
    assert replies == {
        ACCOUNT.address: Reply(250, "2.0.0 delivered"),
        "never@elsewhere.example": Reply(550, "5.7.1 refused by policy"),
        FRIEND.address: Reply(250, "2.0.0 delivered"),
        "later@elsewhere.example": Reply(451, "4.3.0 try again later"),
    }
    assert [delivery.rcpt_tos for delivery in provider.received] == [(ACCOUNT.address, FRIEND.address)]


async def test_nobody_accepted(provider: Provider, reach: Reach) -> None:
    """Where every recipient is refused no message is sent."""
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN), envelope("never@any.example"))
    assert replies == {"never@any.example": Reply(550, "5.7.1 refused by policy")}
    assert provider.received == []


async def test_wrong_password(provider: Provider, reach: Reach) -> None:
    """A wrong password is SignInRefused, permanent, with the server's reply and without the password."""
    with pytest.raises(SignInRefused, match="535") as caught:
        await submit(reach, at(provider.submission_port, sign_in=SignIn(ACCOUNT.address, "wr0ng")))
    assert (caught.value.code, caught.value.temporary) == (535, False)
    assert "wr0ng" not in str(caught.value)


async def test_sign_in_wanted_and_none_given(provider: Provider, reach: Reach) -> None:
    """A server that wants a sign-in refuses an account without credentials: SignInRefused, not the message."""
    with pytest.raises(SignInRefused, match="sign-in first"):
        await submit(reach, at(provider.submission_port, sign_in=None))


async def test_relay_without_sign_in(provider: Provider, reach: Reach) -> None:
    """A server that needs no sign-in gets mail without, from the null reverse-path too."""
    replies = await submit(reach, at(provider.relay_port, sign_in=None), envelope(sender=""))
    assert replies == {FRIEND.address: Reply(250, "2.0.0 delivered")}
    assert provider.received[0].mail_from == ""


async def test_internationalized_addresses(provider: Provider, reach: Reach) -> None:
    """SMTPUTF8 and 8 bits are asked for where an address needs it; otherwise a domain goes in its ASCII form."""
    relay = at(provider.relay_port, sign_in=None)
    await submit(reach, relay, envelope(FRIEND.address, "jörg@bücher.example", sender="ü@x.example", smtputf8=True))
    assert provider.received[0].mail_from == "ü@x.example"
    assert provider.received[0].extensions == (f"SIZE={len(MESSAGE)}", "SMTPUTF8", "BODY=8BITMIME")
    await submit(reach, relay, envelope(sender="me@bücher.example"), b"A: b\r\n\r\n")
    assert provider.received[1].mail_from == "me@xn--bcher-kva.example"
    assert provider.received[1].extensions == ("SIZE=8",)


async def test_starttls(secure: Provider, reach: Reach) -> None:
    """With STARTTLS the sign-in happens after TLS, verified by the configured authority."""
    endpoint = at(secure.submission_port, TLSMode.STARTTLS, SIGN_IN)
    assert await submit(reach, endpoint) == {FRIEND.address: Reply(250, "2.0.0 delivered")}


@pytest.mark.parametrize("tls", [TLSMode.STARTTLS, TLSMode.NONE])
async def test_probe(secure: Provider, provider: Provider, reach: Reach, tls: TLSMode) -> None:
    """A probe signs in and sends nothing."""
    port = (secure if tls is TLSMode.STARTTLS else provider).submission_port
    assert await SmtpAdapter(reach(port), "gateway.example").probe(at(port, tls, SIGN_IN)) == {}
    assert secure.received == provider.received == []


async def test_unknown_authority(secure: Provider, reach: Reach) -> None:
    """A certificate of an authority that nobody trusts is Untrusted, temporary, and no password goes out."""
    endpoint = at(secure.submission_port, TLSMode.STARTTLS, SIGN_IN)
    with pytest.raises(Untrusted, match="not trusted") as caught:
        await SmtpAdapter(reach(endpoint.port, ca_file=""), "gateway.example").probe(endpoint)
    assert caught.value.temporary


@pytest.mark.parametrize("tls", [TLSMode.STARTTLS, TLSMode.IMPLICIT])
async def test_certificate_of_another_host(authority: trustme.CA, reach: Reach, tls: TLSMode) -> None:
    """A certificate for another name is Untrusted."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example").configure_cert(other)
    dialogue = [*SESSION["greeting"], *SESSION["EHLO"], *SESSION["STARTTLS"], start_tls]
    async with Scripted(dialogue, other, implicit=tls is TLSMode.IMPLICIT) as server:
        with pytest.raises(Untrusted, match="not trusted"):
            await submit(reach, at(server.port, tls))
    assert not any(line.startswith("AUTH") for line in server.heard)


async def test_no_starttls_offered(provider: Provider, reach: Reach) -> None:
    """A server without STARTTLS is Insecure, temporary, and gets no password."""
    with pytest.raises(Insecure, match="no STARTTLS") as caught:
        await submit(reach, at(provider.submission_port, TLSMode.STARTTLS, SIGN_IN))
    assert caught.value.temporary


async def test_sign_in_offered_after_tls_only(secure: Provider, reach: Reach) -> None:
    """A server that offers a sign-in after TLS only is Insecure for an account without TLS."""
    with pytest.raises(Insecure, match="no sign-in without TLS"):
        await submit(reach, at(secure.submission_port, sign_in=SIGN_IN))


async def test_tls_to_a_plain_port(provider: Provider, reach: Reach) -> None:
    """TLS from the first byte to a server that does not speak it is Unreachable, with a hint at the TLS mode."""
    with pytest.raises(Unreachable, match="TLS mode"):
        await submit(reach, at(provider.submission_port, TLSMode.IMPLICIT, SIGN_IN))


# -- what is said --------------------------------------------------------------------------------------------------


async def test_starttls_injection(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """Plain text behind the answer to STARTTLS is never taken for protected (CVE-2011-0411)."""
    dialogue = [
        *SESSION["greeting"],
        *SESSION["EHLO"],
        hear("STARTTLS"),
        say("220 go ahead", "250-injected", "250 AUTH LOGIN"),
        start_tls,
        hear("EHLO"),
        say("250 here"),
        hear("QUIT"),
    ]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(SignInRefused, match="offers no sign-in"):
            await submit(reach, at(server.port, TLSMode.STARTTLS))


async def test_knowledge_from_before_tls_is_dropped(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """What a server offered before TLS counts for nothing after (RFC 3207 §4.2)."""
    dialogue = [
        say("220 ready"),
        hear("EHLO"),
        say("250-here", "250-AUTH LOGIN", "250 STARTTLS"),
        *SESSION["STARTTLS"],
        start_tls,
        hear("EHLO"),
        say("250-here", "250 AUTH PLAIN"),
        hear("AUTH PLAIN "),
        say("535 no"),
        hear("QUIT"),
    ]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(SignInRefused):
            await submit(reach, at(server.port, TLSMode.STARTTLS))


@pytest.mark.parametrize("offer", ["LOGIN", "login PLAIN", "XOAUTH2 CRAM-MD5 PLAIN LOGIN"])
async def test_one_sign_in_per_session(reach: Reach, offer: str) -> None:
    """A refused sign-in is not tried again by another mechanism: providers lock accounts for that."""
    dialogue = [
        *SESSION["greeting"],
        hear("EHLO"),
        say("250-here", f"250 AUTH {offer}"),
        hear("AUTH (PLAIN|LOGIN) "),
        say("535 5.7.8 no"),
        hear("QUIT"),
        say("221 bye"),
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused):
            await submit(reach, at(server.port))
    assert len([line for line in server.heard if line.startswith("AUTH")]) == 1


async def test_auth_login(reach: Reach) -> None:
    """Where a server has LOGIN only, name and password go in two steps."""
    dialogue = clear(
        **{
            "EHLO after TLS": [hear("EHLO"), say("250-here", "250-SIZE", "250 AUTH LOGIN")],
            "AUTH": [
                hear("AUTH LOGIN bWVAZWxzZXdoZXJlLmV4YW1wbGU=$"),
                say("334 UGFzc3dvcmQ6"),
                hear(""),
                say("235"),
            ],
        }
    )
    async with Scripted(dialogue) as server:
        assert await submit(reach, at(server.port)) == {FRIEND.address: Reply(250, "accepted")}


async def test_access_token(reach: Reach) -> None:
    """An OAuth 2.0 token goes by XOAUTH2; the error challenge is answered, and the refusal is SignInRefused."""
    dialogue = clear(AUTH=[hear("AUTH XOAUTH2 "), say("334 eyJzdGF0dXMiOiI0MDEifQ=="), hear("$"), say("535 no")])
    async with Scripted(dialogue[: dialogue.index(CLEAR["MAIL"][0])]) as server:
        with pytest.raises(SignInRefused, match="access token"):
            await submit(reach, at(server.port, sign_in=TOKEN))


@pytest.mark.parametrize(("offer", "sign_in"), [("PLAIN LOGIN", TOKEN), ("XOAUTH2", ME), ("GSSAPI", ME)])
async def test_no_common_mechanism(reach: Reach, offer: str, sign_in: SignIn) -> None:
    """No secret goes out by a mechanism that the server does not offer."""
    dialogue = [*SESSION["greeting"], hear("EHLO"), say("250-here", f"250 AUTH {offer}"), hear("QUIT")]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused, match="no way to sign in"):
            await submit(reach, at(server.port, sign_in=sign_in))


async def test_echoed_password(reach: Reach) -> None:
    """A server that echoes the sign-in does not get the password into the error."""

    async def echo(peer: Peer) -> None:
        await peer.write(f"501 no such command: {peer.server.heard[-1]} {PASSWORD}\r\n".encode())

    async with Scripted(clear(AUTH=[hear("AUTH"), echo, hear("QUIT"), close])) as server:
        with pytest.raises(SignInRefused) as caught:
            await submit(reach, at(server.port))
    secret = server.heard[1].split()[-1]
    for text in (str(caught.value), caught.value.reply):
        assert "no such command: AUTH PLAIN *** ***" in text
        assert secret not in text


async def test_no_smtputf8(reach: Reach) -> None:
    """A server without SMTPUTF8 cannot take an address that needs it: Refused (RFC 6531 §3.2)."""
    dialogue = clear(MAIL=[hear("QUIT"), close])
    async with Scripted(dialogue) as server:
        with pytest.raises(Refused, match="ASCII addresses only"):
            await submit(reach, at(server.port), envelope("jörg@elsewhere.example", smtputf8=True))


async def test_service_closing_amid_recipients(reach: Reach) -> None:
    """421 to a later recipient defers all: nobody got the message, and no recipient is to blame."""
    dialogue = clear(RCPT=[hear("RCPT"), say("250 OK"), hear("RCPT"), say("421 too busy"), close])
    async with Scripted(dialogue) as server:
        with pytest.raises(Deferred, match="too busy"):
            await submit(reach, at(server.port), envelope("a@elsewhere.example", "b@elsewhere.example"))


async def test_too_many_recipients_as_552(reach: Reach) -> None:
    """552 for too many recipients is shown and treated as 452 (RFC 5321 §4.5.3.1.10)."""
    dialogue = clear(RCPT=[hear("RCPT"), say("250 OK"), hear("RCPT"), say("552 too many recipients")])
    async with Scripted(dialogue) as server:
        replies = await submit(reach, at(server.port), envelope("a@elsewhere.example", "b@elsewhere.example"))
    assert replies == {
        "a@elsewhere.example": Reply(250, "accepted"),
        "b@elsewhere.example": Reply(452, "too many recipients"),
    }


async def test_greeting_by_a_unicode_domain(reach: Reach) -> None:
    """A gateway with an internationalized domain greets by its ASCII form (RFC 5321 §4.1.1.1)."""
    async with Scripted([say("220 ready"), hear("EHLO xn--bcher-kva.example$"), close]) as server:
        with pytest.raises(Unreachable):
            await SmtpAdapter(reach(server.port), "bücher.example").probe(at(server.port))
