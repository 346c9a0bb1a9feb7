"""Documents by HTTPS: what is fetched from a hostile world, and what is not."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import unused_port

from gateway.errors import HostRefused, Refused, RemoteError, Unreachable
from protocols.https import Https
from tests.protocols.conftest import Reach
from tests.protocols.name_server import NameServer
from tests.protocols.scripted import GARBAGE, Scripted, close, drip, flood, hang, hear_something, send
from tests.protocols.website import Website, page, redirect

HOST = "www.elsewhere.example"
OTHER = "other.example"


@pytest.fixture
async def site(authority: trustme.CA, names: NameServer) -> AsyncIterator[Website]:
    """A web server for two hosts of that name, and for its address."""
    for host in (HOST, OTHER):
        names.has(host, "A", Website.host)
    async with Website(authority, HOST, OTHER, Website.host) as server:
        yield server


@pytest.fixture
def https(site: Website, names: NameServer, reach: Reach) -> Https:
    return Https(reach(nameservers=(names.address,)), site.port)


@pytest.mark.usefixtures("nothing_left")
async def test_document(site: Website, https: Https) -> None:
    """A document is fetched; nothing is told that the server need not know."""
    site.pages["/start"] = page(b"hello", Set_Cookie="a=b")
    assert await https.get(HOST, "/start") == b"hello"
    assert await https.get(HOST, "/start") == b"hello"
    assert site.requests == [f"{HOST}/start"] * 2
    assert not [each for each in site.headers if "Cookie" in each]


async def test_no_document(site: Website, https: Https) -> None:
    """Any status but 200 means that there is no document."""
    with pytest.raises(Refused):
        await https.get(HOST, "/start")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects(status: int, site: Website, https: Https) -> None:
    """Three redirects are followed, to another host too."""
    site.pages |= {
        "/start": redirect("/second", status),
        "/second": redirect(f"https://{OTHER}:{{port}}/third"),
        "/third": redirect(f"//{HOST}:{{port}}/end"),
        "/end": page(b"hello"),
    }
    assert await https.get(HOST, "/start") == b"hello"
    assert site.requests == [f"{HOST}/start", f"{HOST}/second", f"{OTHER}/third", f"{HOST}/end"]


async def test_endless_redirects(site: Website, https: Https) -> None:
    """A fourth redirect is not followed."""
    site.pages["/start"] = redirect("/start")
    with pytest.raises(Refused):
        await https.get(HOST, "/start")
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example:{port}/end",
        "https://other.example/end",
        "https://other.example:22/end",
        "https://user:password@other.example:{port}/end",
        "ftp://other.example:{port}/end",
        "file:///etc/passwd",
        "https://[::1]:{port}/end",
        "https://localhost:{port}x/end",
        "https://",
        "https://other.example:99999/end",
        "\u2603://",
        "",
    ],
)
async def test_redirects_that_break_the_rules(location: str, site: Website, https: Https) -> None:
    """A redirect to another scheme or port, with a password in it, or to nowhere, is not followed."""
    site.pages |= {"/start": redirect(location), "/end": page(b"secret")}
    with pytest.raises(RemoteError):
        await https.get(HOST, "/start")
    assert not [each for each in site.requests if "end" in each]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2", "2130706434", "127.2", "0x7f.2", "0x7f000002", "0177.0.0.2", "[::1]", "[::ffff:127.0.0.2]",
        "[64:ff9b::7f00:2]", "[::ffff:7f00:2]", "[2002:7f00:2::]", "0", "[::]", "169.254.169.254", "127.0.0.2.",
        "[fd00:ec2::254]", "\uff11\uff12\uff17.0.0.2", "127\u30020\u30020\u30022", "localhost.", "inside.example",
        "alias.example",
    ],
)  # fmt: skip
async def test_redirects_into_a_private_network(host: str, site: Website, names: NameServer, reach: Reach) -> None:
    """A redirect to an address that is not allowed is not followed, in whatever spelling, nor by name."""
    names.has("inside.example", "A", "127.0.0.2")
    names.has("inside.example", "AAAA", "::1")
    names.has("alias.example", "CNAME", "inside.example.")
    site.pages["/start"] = redirect(f"https://{host}:{{port}}/end")
    network = reach(nameservers=(names.address,), allow=("127.0.0.1/32",))
    with pytest.raises(RemoteError) as caught:
        await Https(network, site.port).get(HOST, "/start")
    assert not isinstance(caught.value.__cause__, OSError)  # no connection was tried
    assert site.requests == [f"{HOST}/start"]


async def test_rebinding(site: Website, names: NameServer, reach: Reach) -> None:
    """A name that turns private between two requests is not followed there, though it was public for the first."""
    names.has("turning.example", "A", Website.host)
    names.has("turning.example", "A", "127.0.0.2")
    site.pages["/start"] = redirect("https://turning.example:{port}/end")
    network = reach(nameservers=(names.address,), allow=("127.0.0.1/32",))
    assert (await network.resolve("turning.example", site.port))[0][4][0] == Website.host
    with pytest.raises(HostRefused):
        await Https(network, site.port).get(HOST, "/start")
    assert site.requests == [f"{HOST}/start"]


async def test_private_host(site: Website, names: NameServer, reach: Reach) -> None:
    """A host with a private address is refused from the start."""
    with pytest.raises(HostRefused):
        await Https(reach(nameservers=(names.address,), allow=()), site.port).get(HOST, "/start")
    assert not site.requests


@pytest.mark.parametrize(
    "host", ["unknown.example", "a..b", "a" * 64 + ".example", "\udcff.example", "a b.example"]
)
async def test_hosts_that_are_none(host: str, https: Https) -> None:
    """A name that cannot be resolved is Unreachable, also one that no DNS question can hold."""
    with pytest.raises(Unreachable):
        await https.get(host, "/start")


async def test_certificate_of_another_host(names: NameServer, site: Website, https: Https) -> None:
    """A server that does not prove its name is not believed."""
    names.has("www.impostor.example", "A", Website.host)
    with pytest.raises(Unreachable):
        await https.get("www.impostor.example", "/start")
    assert not site.requests


@pytest.mark.parametrize(("size", "fits"), [(64 * 1024, True), (64 * 1024 + 1, False)])
async def test_size(size: int, fits: bool, site: Website, https: Https) -> None:
    """A document may have 64 KiB, and not a byte more."""
    site.pages["/start"] = page(b"x" * size)
    if fits:
        assert len(await https.get(HOST, "/start")) == size
    else:
        with pytest.raises(Refused):
            await https.get(HOST, "/start")


async def test_endless_document(site: Website, https: Https) -> None:
    """A document without end is given up at once, not when it has filled the memory."""

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1024)

    site.pages["/start"] = endless
    with pytest.raises(Refused):
        await https.get(HOST, "/start")


async def test_compressed_document(site: Website, https: Https) -> None:
    """A content coding is not asked for and not undone: a small body could become a very large one."""
    site.pages["/start"] = page(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")
    with pytest.raises(Refused):
        await https.get(HOST, "/start")
    assert [each["Accept-Encoding"] for each in site.headers] == ["identity"]


@pytest.mark.parametrize(
    "steps",
    [
        [close],
        [hang],
        [send(GARBAGE), hang],
        [hear_something, send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"), close],
        [send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), hang],
        [send(b"HTTP/1.1 302 Found\r\n\r\n"), hang],
        [send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), hang],
        [flood(b"HTTP/1.1 100 Continue\r\n\r\n")],
        [flood(b"X: y\r\n")],
        [drip(b"HTTP/1.1 200 OK\r\n")],
    ],
    ids=["close", "hang", "garbage", "cut", "length", "nowhere", "long", "interim", "flood", "drip"],
)
@pytest.mark.usefixtures("nothing_left")
async def test_foul_servers(steps: list[Any], authority: trustme.CA, names: NameServer, reach: Reach) -> None:
    """Whatever a server does instead of answering, it ends in time, as an error, with the connection closed."""
    names.has(HOST, "A", Scripted.host)
    tls = Website(authority, HOST).tls
    async with Scripted(steps, tls, implicit=True) as server:
        https = Https(reach(nameservers=(names.address,)), server.port, timeout=0.5)
        with pytest.raises(RemoteError):
            await https.get(HOST, "/start")


async def test_closed_port(site: Website, names: NameServer, reach: Reach) -> None:
    """A host where nobody listens is Unreachable."""
    with pytest.raises(Unreachable):
        await Https(reach(nameservers=(names.address,)), unused_port()).get(HOST, "/start")
