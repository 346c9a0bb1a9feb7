"""HTTP load by wrk, which costs far less than what it measures."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.servers import program

CONNECTIONS = 32
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_GRACE_S = 30


@dataclass(frozen=True, slots=True)
class Request:
    """The request that is made again and again. In ``path``, ``{n}`` is another of ``ids`` each time."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    ids: tuple[str, ...] = ()

    def script(self) -> str:
        """Return it as wrk's Lua; JSON strings are Lua strings as far as they go here."""
        headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in self.headers.items())
        path = "/" + self.url.split("/", 3)[3]
        ids = ", ".join(f'"{each}"' for each in self.ids)
        choice = f"""
            local ids, n = {{ {ids} }}, 0
            request = function()
              n = n % #ids + 1
              return wrk.format(nil, (string.gsub("{path}", "{{n}}", ids[n])))
            end
        """
        body = f"wrk.body = [==[{self.body}]==]\n" if self.body else ""
        return f'wrk.method = "{self.method}"\n{headers}{body}{choice if self.ids else ""}'


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests per second, and the time within which 99 of 100 were answered, in ms."""

    per_s: float
    p99_ms: float


async def load(request: Request, seconds: float) -> Load:
    """Make the request from 32 connections for so long. Ends the run where an answer is an error."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(request.script())
        script.flush()
        child = await asyncio.create_subprocess_exec(
            program("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", script.name,
            re.sub(r"{n}", "0", request.url),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(seconds + _GRACE_S):
            output, _ = await child.communicate()
    report = output.decode()
    if child.returncode or "Non-2xx" in report or "Socket errors" in report:
        raise SystemExit(f"{request.method} {request.url}:\n{report}")
    (rate,), (time, unit) = _told(r"Requests/sec:\s+([\d.]+)", report), _told(r"99%\s+([\d.]+)(us|ms|s)", report)
    return Load(float(rate), float(time) * _UNITS_MS[unit])


def _told(pattern: str, report: str) -> Sequence[str]:
    found = re.search(pattern, report)
    if not found:
        raise SystemExit(f"wrk tells no {pattern}:\n{report}")
    return found.groups()
