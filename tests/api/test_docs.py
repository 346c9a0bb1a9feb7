"""The files of the API's documentation, as they are served."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from tomllib import loads

import pytest

from tests.client import Client

FILES = Path(str(resources.files("api.docs")))
CONSOLE = Path(str(resources.files("api.console")))
TYPES = {"/api/docs": "text/html", "/api/docs/docs.js": "text/javascript", "/api/docs/docs.css": "text/css"}


@pytest.mark.parametrize(("path", "content_type"), TYPES.items())
async def test_served(api: Client, path: str, content_type: str) -> None:
    """A file has its type, the console's policy, and a tag by which it is asked for again."""
    reply = await api.get(path)
    assert reply.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    policy = "Content-Security-Policy"
    assert reply.headers[policy] == (await api.get("/")).headers[policy]
    again = await api.get(path, headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status, again.content) == (304, b"")


async def test_nothing_else(api: Client) -> None:
    """What is no file for browsers is not served."""
    for path in ("/api/docs/", "/api/docs/docs.html", "/api/docs/__init__.py", "/api/docs/%2e%2e/app.py"):
        assert (await api.get(path)).status == 404


@pytest.mark.parametrize("script", sorted(FILES.glob("*.js")), ids=lambda script: script.name)
def test_scripts(script: Path) -> None:
    """A module says what it is, imports what there is, and names no other host and nothing that makes markup."""
    text = script.read_text("utf-8")
    assert re.match(r"/\*\*\n \* .*\n(?: \*.*\n)*? \* @module\n", text)
    for name in re.findall(r'from "([^"]+)"', text):
        within = CONSOLE / name.removeprefix("/console/") if name.startswith("/console/") else FILES / name
        assert within.is_file()
    assert not re.search(r"\w:?//\w|[\"'`]//", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage", text)


def test_packaged() -> None:
    """The wheel has every file of the documentation."""
    project = loads((FILES.parents[1] / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["api.docs"]
    files = [each for each in FILES.iterdir() if each.is_file() and each.suffix != ".py"]
    assert files
    assert all(any(file.match(each) for each in patterns) for file in files)
