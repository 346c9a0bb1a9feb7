"""The console's files, as they are served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path, PurePosixPath
from tomllib import loads

import pytest

from tests.client import Client

FILES = Path(str(resources.files("api.console")))
SCRIPTS = sorted(FILES.rglob("*.js"))
TYPES = {
    "/": "text/html",
    "/console/app.js": "text/javascript",
    "/console/views/compose.js": "text/javascript",
    "/console/style/base.css": "text/css",
    "/console/icons.svg": "image/svg+xml",
}


@pytest.mark.parametrize(("path", "content_type"), TYPES.items())
async def test_served(api: Client, path: str, content_type: str) -> None:
    """A file has its type and a policy that lets nothing in from elsewhere, nothing inline, no text as markup."""
    reply = await api.get(path)
    assert reply.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    policy = reply.headers["Content-Security-Policy"]
    assert {"default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"} <= {
        *policy.split("; ")
    }
    assert "unsafe" not in policy


async def test_revalidated(api: Client) -> None:
    """Browsers ask each time, so that a new version shows at once, and get again only what has changed."""
    reply = await api.get("/console/app.js")
    assert reply.headers["Cache-Control"] == "no-cache"
    again = await api.get("/console/app.js", headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status, again.content) == (304, b"")


async def test_nothing_else(api: Client) -> None:
    """What is no file of the console is not served, whatever way leads to it."""
    for path in ("/console/", "/console/__init__.py", "/console/views", "/console/%2e%2e/app.py", "/index.html"):
        assert (await api.get(path)).status == 404


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts(script: Path) -> None:
    """A module says what it is, imports what there is, and names no other host and nothing that makes markup."""
    text = script.read_text("utf-8")
    assert re.match(r"/\*\*\n \* .*\n(?: \*.*\n)*? \* @module\n", text)
    assert all((script.parent / name).is_file() for name in re.findall(r'from "(\.[^"]+)"', text))
    assert not re.search(r"\w:?//\w|[\"'`]//", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage", text)


def test_packaged() -> None:
    """The wheel has every file of the console."""
    project = loads((FILES.parents[1] / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["api.console"]
    for file in for_browsers():
        assert any(file.match(each) and len(file.parts) == len(PurePosixPath(each).parts) for each in patterns)


def for_browsers() -> Iterator[PurePosixPath]:
    """Yield all files but Python's."""
    for file in FILES.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            yield PurePosixPath(file.relative_to(FILES).as_posix())
