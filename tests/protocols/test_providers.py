"""Known providers: the facts of the file, and whose address is whose."""

from __future__ import annotations

import pytest

from gateway.config import NetworkSection
from gateway.identity import TLSMode
from gateway.proposal import Password, Source, named_server
from protocols.dns import Resolver
from protocols.network import Network
from protocols.providers import Provider, Providers, by_exchangers, files_sent, known
from tests.protocols.name_server import NameServer


@pytest.mark.parametrize("provider", known(), ids=lambda each: each.name)
def test_entries(provider: Provider) -> None:
    """Every entry names servers that the gateway may use, with TLS, and how one finds that an address is theirs."""
    for direction in ("in", "out"):
        server = provider.server(direction)
        assert named_server(server.host, server.port, server.tls) == server
        assert server.tls is not TLSMode.NONE
        assert Network(NetworkSection()).permits(server)
    assert provider.domains or provider.mx
    assert all(name == name.lower() and "." in name for name in [*provider.domains, *provider.mx])
    assert provider.sign_in in ("password", "app-password", "oauth2")
    assert provider.username in ("address", "local-part")


def test_nothing_twice() -> None:
    """No domain and no ending of hosts is that of two providers."""
    for names in (
        [name for each in known() for name in each.domains],
        [name for each in known() for name in each.mx],
    ):
        assert len(names) == len(set(names)) > 20


async def test_own_domain(names: NameServer) -> None:
    """An address at a provider's own domain is known without a question to anybody."""
    (found,) = await Providers(Resolver([names.address])).find("someone@gmail.com")
    assert found.infos == {
        "inserver": "imap.gmail.com:993",
        "intls": "implicit",
        "outserver": "smtp.gmail.com:465",
        "outtls": "implicit",
        "provider": "Google",
    }
    assert (found.source, found.password) == (Source.PROVIDER, Password.APP)
    assert found.inusername == found.outusername == "someone@gmail.com"
    assert not names.asked


async def test_customer_s_domain(names: NameServer) -> None:
    """An address of another domain is at the provider to which the domain's mail goes."""
    names.has("company.example", "MX", "0 company-example.mail.protection.outlook.com.")
    names.has("other.example", "MX", "0 mx.other.example.")
    providers = Providers(Resolver([names.address]))
    (found,) = await providers.find("someone@company.example")
    assert (found.provider, found.authtype, found.password) == ("Microsoft 365", "oauth2", None)
    assert found.outusername == "someone@company.example"
    assert await providers.find("someone@other.example") == []
    assert await providers.find("someone@nowhere.example") == []


async def test_local_part_as_user_name(names: NameServer) -> None:
    """Some providers want the local part alone."""
    (found,) = await Providers(Resolver([names.address])).find("someone@free.fr")
    assert found.inusername == found.outusername == "someone"


def test_exchangers() -> None:
    """The first host that is known decides; a name that only ends alike is another's."""
    assert by_exchangers(["notgoogle.com", "google.com.example"]) is None
    first = by_exchangers(["mx.filter.example", "in1-smtp.messagingengine.com", "aspmx.l.google.com"])
    assert first
    assert first.name == "Fastmail"


@pytest.mark.parametrize(
    ("host", "files"),
    [
        ("outlook.office365.com", True),
        ("imap-mail.Outlook.com", True),
        ("imap.gmail.com", True),
        ("imap.notoutlook.com", False),
        ("127.0.0.1", False),
    ],
)
def test_files_what_is_sent(host: str, files: bool) -> None:
    """Google's and Microsoft's hosts are known to file what is sent through them."""
    assert files_sent(host) is files
