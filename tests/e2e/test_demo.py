"""The demo as a new user meets it: what it prints is copied into a shell."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from tests.e2e.conftest import Process, mail_gateway
from tests.ports import free_port

SHOWN = [
    '"access_token"',
    '"identifier":"me@elsewhere.example"',
    '"message_id"',
    '"state":"sent"',
    '"state":"accepted"',
    "Subject: Hello from the gateway",
    "Subject: Hello from the gateway",
    '"lastsync":"20',
    '"last_check":"20',
]
"""What the output of each command has to hold."""


async def printed(process: Process) -> str:
    """Return what the demo prints until it waits."""
    assert process.child.stdout
    lines = []
    async with asyncio.timeout(60):
        while line := (await process.child.stdout.readline()).decode():
            lines.append(line)
            if line.startswith("Ctrl-C stops"):
                break
    return "".join(lines)


async def shell(command: str) -> tuple[int | None, str]:
    """Run a line as a shell would."""
    child = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await child.communicate()
    return child.returncode, output.decode()


async def test_walk(tmp_path: Path) -> None:
    """Every command of the printed walk works as printed, in its order, and shows what it is there to show."""
    async with mail_gateway("demo", "--port", str(free_port()), log=tmp_path / "log") as process:
        text = await printed(process)
        commands = re.findall(r"^   (curl .*)$", text, re.MULTILINE)
        assert len(commands) == len(SHOWN)
        for command, look_for in zip(commands, SHOWN, strict=True):
            code, output = await shell(command)
            assert code == 0, (command, output)
            assert look_for in output, (command, output)
        console = re.search(r"http://\S+", text)
        assert console
        async with aiohttp.ClientSession() as session, session.get(console[0]) as page:
            assert page.status == 200
        assert await process.stop() == 0
    assert (tmp_path / "log").read_text() == ""


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name: that of ``tmp_path`` is too long for a socket below it."""
    with TemporaryDirectory() as directory:
        yield Path(directory)


def kept(directory: Path) -> list[Path]:
    """Return what is in a directory."""
    return list(directory.iterdir())


async def test_hangup(short: Path, tmp_path: Path) -> None:
    """A closed terminal stops the demo as Ctrl-C does: nothing is kept."""
    async with mail_gateway("demo", "--port", "0", log=tmp_path / "log", TMPDIR=str(short)) as process:
        await printed(process)
        assert kept(short)
        assert await process.stop(signal.SIGHUP) == 0
        assert not kept(short)


async def test_without_its_extra(tmp_path: Path) -> None:
    """Where the demo's servers are not installed, one sentence says what to install."""
    (tmp_path / "pymap.py").write_text("raise ModuleNotFoundError(name='pymap')")
    environment = {"PYTHONPATH": str(tmp_path)}
    async with mail_gateway("demo", log=tmp_path / "log", **environment) as process:
        assert await process.child.wait() == 3
    text = "mail-gateway: The demo needs pymap: pip install 'mail-identity-gateway[demo]'\n"
    assert (tmp_path / "log").read_text() == text


async def test_port_in_use(tmp_path: Path) -> None:
    """A port in use is one clear sentence and exit code 3; nothing is left running."""
    port = str(free_port())
    async with mail_gateway("demo", "--port", port, log=tmp_path / "first") as first:
        await printed(first)
        async with mail_gateway("demo", "--port", port, log=tmp_path / "second") as second:
            assert await second.child.wait() == 3
        message = (tmp_path / "second").read_text()
        assert message.startswith(f"mail-gateway: Cannot listen on 127.0.0.1 port {port}")
        assert message.count("\n") == 1
