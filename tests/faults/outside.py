"""Where all mail of a gateway under load goes, and what came there."""

from __future__ import annotations

import email
import imaplib
from collections import Counter, defaultdict
from collections.abc import Callable

from api.demo.provider import Delivery, Provider
from tests.conftest import FRIEND, ME


class Outside(Provider):
    """Another provider, which calls ``at_dot`` when it has taken a message and not answered the final dot yet."""

    def __init__(self) -> None:
        super().__init__([ME, FRIEND])
        self.at_dot: Callable[[], None] = lambda: None
        self.taken: defaultdict[str, list[str]] = defaultdict(list)
        """The Message-IDs of what came, by its subject."""

    async def deliver(self, delivery: Delivery) -> None:
        """Take a message."""
        await super().deliver(delivery)
        message = email.message_from_bytes(delivery.data)
        self.taken[message["Subject"]].append(message["Message-ID"])
        self.at_dot()

    def copies(self) -> Counter[str]:
        """Return how often the Sent folder of ME has which Message-ID; blocks."""
        with imaplib.IMAP4(self.host, self.imap_port, 30) as client:
            client.login(ME.address, ME.password)
            client.select("Sent", readonly=True)
            parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]
        return Counter(email.message_from_bytes(part[1])["Message-ID"] for part in parts if isinstance(part, tuple))

    def configuration(self) -> str:
        """Return the lines that let a gateway send through this provider."""
        return f"""
            [relay]
            host = "{self.host}"
            port = {self.relay_port}
            tls = "none"
            [network]
            allow = ["127.0.0.0/8"]
            ports = [{self.submission_port}, {self.imap_port}]
            allow_plaintext = true
            [delivery]
            wait_s = 0.5
            poll_s = 0.05
            [limits]
            messages_per_hour = 1_000_000
            recipients_per_day = 1_000_000
        """
