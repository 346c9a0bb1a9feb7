"""Proposals: what an identity is made of, and which comes first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import Credentials, Endpoint, TLSMode, endpoint
from gateway.proposal import Password, Proposal, Source, best_first, named_server

IMAP = Endpoint("imap.elsewhere.example", 993, TLSMode.IMPLICIT)
SMTP = Endpoint("smtp.elsewhere.example", 587, TLSMode.STARTTLS)
OTHER = Endpoint("smtp.elsewhere.example", 465, TLSMode.IMPLICIT)


def proposal(source: Source = Source.SRV, **changes: Any) -> Proposal:
    """Return a proposal with both servers, but for the changes."""
    return Proposal(**{"source": source, "incoming": IMAP, "outgoing": SMTP, "outusername": "me", **changes})


def test_infos() -> None:
    """The infos have the servers as an identity has them, and what else is known."""
    assert proposal(authtype="oauth2", provider="Somebody").infos == {
        "inserver": "imap.elsewhere.example:993",
        "intls": "implicit",
        "outserver": "smtp.elsewhere.example:587",
        "outtls": "starttls",
        "authtype": "oauth2",
        "provider": "Somebody",
    }
    alone = proposal(incoming=None)
    assert (alone.protocol, proposal().protocol) == ("smtp", "imap")
    assert alone.infos.keys() == {"outserver", "outtls"}


@given(
    st.sampled_from(TLSMode), st.integers(1, 65535), st.from_regex(r"[a-z0-9-]{1,20}\.[a-z]{2,5}", fullmatch=True)
)
def test_infos_are_read_back(tls: TLSMode, port: int, host: str) -> None:
    """An identity with these infos has these servers."""
    server = named_server(host, port, tls)
    if server:
        infos = proposal(incoming=server, outgoing=server).infos
        assert endpoint(infos, Credentials({}), "in") == endpoint(infos, Credentials({}), "out") == server


def test_order() -> None:
    """The best source comes first, and what the user has to confirm last."""
    proposals = [
        proposal(Source.PROBE, outgoing=Endpoint("a.example", 587, TLSMode.STARTTLS)),
        proposal(Source.SRV, outgoing=Endpoint("b.example", 587, TLSMode.STARTTLS)),
        proposal(Source.SRV, outgoing=Endpoint("c.example", 587, TLSMode.STARTTLS), confirm=True),
        proposal(Source.PROVIDER, outgoing=Endpoint("d.example", 587, TLSMode.STARTTLS)),
        proposal(Source.AUTOCONFIG, outgoing=Endpoint("e.example", 587, TLSMode.STARTTLS)),
    ]
    assert [each.outgoing.host[0] for each in best_first(proposals)] == ["e", "d", "b", "a", "c"]


def test_same_servers() -> None:
    """Proposals with the same servers are one, of the best source; what it does not know the others tell."""
    (merged,) = best_first(
        [
            proposal(Source.SRV, confirm=True),
            proposal(Source.PROVIDER, password=Password.APP, provider="Somebody", outusername="other"),
            proposal(Source.AUTOCONFIG),
        ]
    )
    assert merged == proposal(Source.AUTOCONFIG, password=Password.APP, provider="Somebody")
    assert len(best_first([proposal(), proposal(outgoing=OTHER), proposal(incoming=None)])) == 3


def test_same_servers_with_oauth2() -> None:
    """Where the best source says that no password is taken, none of another is told."""
    (merged,) = best_first(
        [proposal(Source.AUTOCONFIG, authtype="oauth2"), proposal(Source.PROVIDER, password=Password.NORMAL)]
    )
    assert (merged.authtype, merged.password) == ("oauth2", None)


@pytest.mark.parametrize(
    "host", ["", "localhost", "127.0.0.1", "::1", "[::1]", "1.2", "0x7f.1", "a b.example", "a."]
)
def test_hosts_that_are_none(host: str) -> None:
    """A server that others name is a full host name."""
    assert named_server(host, 993, TLSMode.IMPLICIT) is None


@given(st.text(max_size=30), st.text(max_size=6) | st.integers())
def test_all_names_are_judged(host: str, port: str | int) -> None:
    """Whatever is said to be a host with a port is one that can be written down, or none."""
    server = named_server(host, port, TLSMode.STARTTLS)
    if server:
        assert named_server(server.host, server.port, server.tls) == server
