"""What operators and their machines ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from api.demo.provider import Provider
from storage import embedded
from storage.mongo import Mongo
from tests.api.test_attachments import upload
from tests.client import Client, draft


async def test_healthz(api: Client) -> None:
    """The process says that it lives, to anybody."""
    assert (await api.get("/healthz")).json == {"status": "ok"}


async def test_readyz(api: Client) -> None:
    """A gateway whose database answers and whose workers are alive is ready."""
    assert (await api.get("/readyz")).json == {"status": "ready", "warnings": []}


@pytest.mark.configured(storage={"uri": ""})
async def test_a_disk_that_is_nearly_full(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the embedded database has little room, nothing new is stored, and all else goes on; readyz warns."""
    identity_id = (await user.local_identity())["identity_id"]
    message_id = await user.draft(identity_id)
    with monkeypatch.context() as full:
        full.setattr(embedded, "ROOM_BYTES", 2**62)
        attachment = await upload(user, message_id, b"bytes")
        for reply in (
            await user.post("/api/v1/messages", draft(identity_id)),
            await user.send(message_id),
            attachment,
        ):
            assert (reply.status, reply.headers["Retry-After"]) == (503, "60")
            assert "nearly full" in reply.json["detail"]
        assert "nearly full" in (await user.get("/readyz")).json["warnings"][0]
        path = f"/api/v1/messages/{message_id}"
        assert (await user.call("PATCH", path, {"subject": "Short"})).status == 204
        assert (await user.get(path)).json["subject"] == "Short"
        assert (await user.call("DELETE", path)).status == 204
    assert await user.draft(identity_id)


async def test_metrics(user: Client, provider: Provider) -> None:
    """Requests, attempts and checks are counted; ids and addresses are no labels."""
    identity_id = await user.add_remote(provider)
    await user.send(await user.draft(identity_id))
    await user.post(f"/api/v2/identities/remotes/{identity_id}/actions", {"actions": ["check"]})
    await user.get("/nothing/here")
    reply = await user.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    text = reply.content.decode()
    assert 'gateway_delivery_attempt_seconds_count{outcome="sent",protocol="imap"} 1.0' in text
    assert 'gateway_check_seconds_count{outcome="ok",protocol="imap"} 1.0' in text
    assert 'gateway_http_request_seconds_count{method="any",route="none",status="404"} 1.0' in text
    assert identity_id not in text
    assert "elsewhere.example" not in text


async def test_console(api: Client) -> None:
    """The landing page asks nothing of other hosts."""
    page = await api.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"http" not in page.content.replace(b"http-equiv", b"")
    assert (await api.get("/console/style/base.css")).headers["Content-Type"] == "text/css; charset=utf-8"


async def test_backlog(user: Client, mongo: Mongo) -> None:
    """What waits for a check is counted; what has waited for twice its interval is a warning."""
    waiting = {"$set": {"check_at": datetime.now(UTC) - timedelta(minutes=20)}}
    await mongo.collection("identities").update_many({"user_id": user.user_id}, waiting)
    assert (await user.get("/readyz")).json["warnings"] == []
    counted = (await user.get("/metrics")).content.decode()
    assert "gateway_checks_due 1.0" in counted
    assert "gateway_checks_oldest_due_seconds 120" in counted
    waiting = {"$set": {"check_at": datetime.now(UTC) - timedelta(minutes=40)}}
    await mongo.collection("identities").update_many({"user_id": user.user_id}, waiting)
    reply = await user.get("/readyz")
    assert (reply.status, "has been due for 40 minutes" in reply.json["warnings"][0]) == (200, True)
