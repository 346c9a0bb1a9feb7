"""Holds answers against the OpenAPI document; below ``/dimail``, another API, against that one's few rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from jsonschema import Draft202012Validator

_FILES = re.compile(r"/|/console/.+|/api/docs(/.+)?")
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Reply(Protocol):
    """An answer, read to its end."""

    @property
    def status(self) -> int:
        """Its status."""

    @property
    def headers(self) -> Any:
        """Its headers, found in whatever case."""

    @property
    def content(self) -> bytes:
        """Its body."""


@dataclass(frozen=True)
class Contract:
    """What an OpenAPI document promises."""

    document: Mapping[str, Any]

    def check(self, verb: str, path: str, reply: Reply) -> None:
        """Raise AssertionError or ValidationError where an answer is not as the document says."""
        if _FILES.fullmatch(path):
            return
        if path.startswith("/dimail"):
            _check_dimail(reply)
            return
        described = self._responses("get" if verb == "HEAD" else verb.lower(), path)
        if described is None:
            assert reply.status in (404, 405), f"{verb} {path} answers {reply.status} and is not in the document"
            headers = ["X-Request-ID", "Allow"] if reply.status == 405 else ["X-Request-ID"]
            content = _PROBLEM
        else:
            assert str(reply.status) in described, f"{verb} {path}: {reply.status} is not documented"
            response = self._resolved(described[str(reply.status)])
            headers = [name for name, each in response["headers"].items() if self._resolved(each)["required"]]
            content = response.get("content", {})
        assert not [name for name in headers if name not in reply.headers]
        if verb == "HEAD" or not content:
            assert not reply.content
        else:
            self._check_body(content, reply)

    def _responses(self, verb: str, path: str) -> Mapping[str, Any] | None:
        """Return the responses of an operation; a path without parameters comes before one with them."""
        for template, verbs in sorted(self.document["paths"].items(), key=lambda item: item[0].count("{")):
            pattern = "[^/]+".join(map(re.escape, re.split(r"{\w+}", template)))
            if re.fullmatch(pattern, path):
                responses: Mapping[str, Any] | None = verbs.get(verb, {}).get("responses")
                return responses
        return None

    def _resolved(self, described: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow ``#/components/<kind>/<name>``."""
        if "$ref" not in described:
            return described
        _, _, kind, name = described["$ref"].split("/")
        component: Mapping[str, Any] = self.document["components"][kind][name]
        return component

    def _check_body(self, content: Mapping[str, Any], reply: Reply) -> None:
        media_type = reply.headers["Content-Type"].partition(";")[0]
        described = content.get(media_type, content.get("*/*"))
        assert described is not None, f"{media_type} is not documented"
        if schema := described.get("schema"):
            whole = {**schema, "components": self.document["components"]}
            checker = Draft202012Validator.FORMAT_CHECKER
            Draft202012Validator(whole, format_checker=checker).validate(orjson.loads(reply.content))


def _check_dimail(reply: Reply) -> None:
    """See that an error is ``{"detail": …}``, of a text that La Suite's People can parse; see docs/dimail.md."""
    assert "X-Request-ID" in reply.headers
    if reply.status >= 400:
        assert reply.headers["Content-Type"] == "application/json"
        document = orjson.loads(reply.content)
        assert document.keys() == {"detail"}
        assert isinstance(document["detail"], str)
        assert "'" not in document["detail"]
    if reply.status == 401:
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")
