"""Answering a message: whom a reply goes to, what it is called, what it refers to (RFC 5322 §3.6.3, §3.6.4)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from gateway.message import RECIPIENT_TYPES, Message, Participant

_RE = re.compile(r"\A\s*(?:re(?:\[[0-9]+\])?\s*:\s*)+", re.IGNORECASE)
_MAX_ANCESTORS = 50  # a header field of them stays below 10 KB


def subject(parent: Message) -> str:
    """Return the parent's subject with one "Re: " before it."""
    return f"Re: {_RE.sub('', parent.subject, count=1)}".strip()


def recipients(parent: Message, own: Collection[str]) -> Sequence[Participant]:
    """Return who gets the reply: in To who wrote the parent, or whom they named in Reply-To; in Cc its other
    recipients, less ``own``, the addresses of the user, in lower case, and less who was in Bcc.
    """
    writers = [p for p in parent.participants if p.type == "Reply-To"]
    writers = writers or [p for p in parent.participants if p.type == "From"]
    known = {p.address.lower() for p in writers} | set(own)
    others = []
    for participant in parent.participants:
        if participant.type in RECIPIENT_TYPES and participant.type != "Bcc":
            if participant.address.lower() not in known:
                others.append(participant)
            known.add(participant.address.lower())
    return [
        *(Participant(p.address, p.label, "To", p.contact_ids) for p in writers),
        *(Participant(p.address, p.label, "Cc", p.contact_ids) for p in others),
    ]


def ancestors(parent: Message) -> Sequence[str]:
    """Return what References says: the parent's own, and its Message-ID. Of very many the first and the latest."""
    references = [*parent.ancestors, *([parent.internet_message_id] if parent.internet_message_id else [])]
    return references if len(references) <= _MAX_ANCESTORS else [references[0], *references[1 - _MAX_ANCESTORS :]]
