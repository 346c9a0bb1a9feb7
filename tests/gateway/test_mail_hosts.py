"""The hosts that serve the domains."""

from __future__ import annotations

from gateway.config import DomainsSection
from gateway.mail_hosts import Hosts


def test_defaults() -> None:
    """Where nothing is configured the names are under the local domain, in A-labels."""
    ours = "xn--bcher-kva.example"
    hosts = Hosts(f"mx.{ours}", f"imap.{ours}", f"smtp.{ours}", f"webmail.{ours}", f"_spf.{ours}")
    assert Hosts.of(DomainsSection(), "bücher.example") == hosts


def test_configured() -> None:
    """What is configured stands, each by itself."""
    settings = DomainsSection(mx_host="in.example.net", webmail_host="Bücher.example", spf_host="_s.example.net")
    assert Hosts.of(settings, "example.org") == Hosts(
        mx="in.example.net",
        imap="imap.example.org",
        smtp="smtp.example.org",
        webmail="xn--bcher-kva.example",
        spf="_s.example.net",
    )
