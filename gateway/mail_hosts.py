"""The hosts that serve the domains, by the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gateway.address import ascii_host
from gateway.config import DomainsSection


@dataclass(frozen=True, slots=True)
class Hosts:
    """Names in A-labels (RFC 5890). ``spf`` is no host: it has the SPF record that others include."""

    mx: str
    imap: str
    smtp: str
    webmail: str
    spf: str

    @classmethod
    def of(cls, settings: DomainsSection, local_domain: str) -> Self:
        """Return what is configured; where nothing is, a name under the local domain."""
        ours = ascii_host(local_domain)
        return cls(
            mx=ascii_host(settings.mx_host or f"mx.{ours}"),
            imap=ascii_host(settings.imap_host or f"imap.{ours}"),
            smtp=ascii_host(settings.smtp_host or f"smtp.{ours}"),
            webmail=ascii_host(settings.webmail_host or f"webmail.{ours}"),
            spf=ascii_host(settings.spf_host or f"_spf.{ours}"),
        )
