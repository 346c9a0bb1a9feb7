"""Fields and schemas that the routes share.

``json_schema`` of a field is what the OpenAPI document says of it beyond what follows from its type and validators.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

from gateway.address import parse_mailbox
from gateway.identity import MAX_KEYS

_MAX_OFFSET = 1_000_000_000  # beyond what any list has; the database counts in 64 bits
_MAX_LIMIT = 200
_MAX_KEY = 128
_MAX_VALUE_BYTES = 4096
_NO_NUL = r"^[^\u0000]*$"
MOST_FAULTS = 100
"""So many are told at most; who looks for them stops at one more."""


class StrictSchema(Schema):
    """Refuses unknown properties by name; those of ``server_set`` are accepted and ignored."""

    server_set: ClassVar[frozenset[str]] = frozenset()
    error_messages = {"unknown": "There is no such property."}  # noqa: RUF012 - as marshmallow declares it

    class Meta:
        """Marshmallow's settings."""

        unknown = RAISE

    @pre_load
    def drop_server_set(self, data: Any, **_: Any) -> Any:
        """Leave out what the server sets by itself, and of very many unknown properties all but some."""
        if not isinstance(data, Mapping):
            return data
        known = {name: data[name] for name in self.load_fields if name in data}
        unknown = (name for name in data if name not in known and name not in self.server_set)
        return known | dict.fromkeys(islice(unknown, MOST_FAULTS + 1))


class ListOf(fields.List[Any]):
    """A list of so many elements: where there are more or fewer, none is looked at."""

    def __init__(
        self,
        element: fields.Field[Any],
        length: validate.Length,
        *rules: Callable[[Sequence[Any]], object],
        **kwargs: Any,
    ) -> None:
        super().__init__(element, validate=[length, *rules], **kwargs)
        self._length = length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:  # noqa: ARG002
        if not isinstance(value, list):
            raise self.make_error("invalid")
        self._length(value)
        loaded: list[Any] = []
        faults: dict[Any, Any] = {}
        for number, each in enumerate(value):
            try:
                loaded.append(self.inner.deserialize(each, **kwargs))
            except ValidationError as error:
                faults[number] = error.messages
                if len(faults) > MOST_FAULTS:
                    break
        if faults:
            raise ValidationError(faults)
        return loaded


class MapOf(fields.Dict):
    """A map string → string of at most so many keys: where there are more, none is looked at."""

    def __init__(self, keys: fields.String, values: fields.String, *, most: int, **kwargs: Any) -> None:
        self._length = validate.Length(max=most)
        super().__init__(keys=keys, values=values, validate=self._length, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            self._length(value)
        entries: dict[str, Any] = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        return entries


class Count(fields.Integer):
    """A number of the query: ASCII digits and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,100}", value):
            raise self.make_error("invalid")
        number: int = super()._deserialize(value, attr, data, **kwargs)
        return number


class TrueOrFalse(fields.Boolean):
    """A JSON boolean; 1 and "yes" are none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:  # noqa: ARG002
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class PageSchema(StrictSchema):
    """``limit`` and ``offset`` of a list; a limit over 200 counts as 200."""

    error_messages = {"unknown": "There is no such query parameter."}  # noqa: RUF012 - as above

    limit = Count(load_default=50, validate=validate.Range(min=1))
    offset = Count(load_default=0, validate=validate.Range(min=0))


def page_arguments(query: Mapping[str, Any]) -> dict[str, int]:
    """Return ``limit`` and ``offset`` as Page takes them."""
    return {"limit": min(query["limit"], _MAX_LIMIT), "offset": min(query["offset"], _MAX_OFFSET)}


class MailboxField(fields.String):
    """A mail address (RFC 5321 §4.1.2, RFC 6531 §3.3), with its domain in Unicode."""

    json_schema: ClassVar[Mapping[str, Any]] = {"format": "idn-email"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return parse_mailbox(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            if isinstance(error, ValidationError):
                raise
            raise ValidationError(str(error)) from error


class IdentifierField(fields.String):
    """A UUID in its one text form."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "format": "uuid",
        "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            if str(UUID(text)) == text:
                return text
        except ValueError:
            pass
        raise ValidationError("Must be a UUID in lower case, like 0189e0f4-2a3b-4c5d-8e9f-0a1b2c3d4e5f.")


class Timestamp(fields.AwareDateTime):
    """An RFC 3339 time with its offset, turned into UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        moment: datetime = super()._deserialize(value, attr, data, **kwargs)
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError("Is beyond the years that can be stored.") from error


class HeaderText(fields.String):
    """Text that goes into a header: no line break and no NUL (RFC 5322 §2.2)."""

    json_schema: ClassVar[Mapping[str, Any]] = {"pattern": r"^[^\u0000\r\n]*$"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if any(character in text for character in "\r\n\0"):
            raise ValidationError("Must not hold a line break or a NUL character.")
        return text


class Username(fields.String):
    """A new user's name; :func:`gateway.user.username_fault` judges it."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "minLength": 3,
        "maxLength": 42,
        "pattern": "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$",
    }


class Password(fields.String):
    """A password; no answer ever has it."""

    json_schema: ClassVar[Mapping[str, Any]] = {"format": "password"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_only=True, **kwargs)


class NewPassword(Password):
    """A password to set; :func:`gateway.user.password_fault` judges it."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        **Password.json_schema,
        "minLength": 8,
        "maxLength": 1024,
        "description": "It is not the user name.",
    }


class StringMap(MapOf):
    """A map string → string of at most 64 keys, each value at most 4 KiB.

    ``nullable`` makes it one of a merge patch (RFC 7396), where null removes a key or all of them.
    """

    json_schema: Mapping[str, Any] = {
        "propertyNames": {"minLength": 1, "maxLength": _MAX_KEY, "pattern": _NO_NUL},
        "additionalProperties": {
            "type": "string",
            "maxLength": _MAX_VALUE_BYTES,
            "pattern": _NO_NUL,
            "description": "At most 4 KiB in UTF-8.",
        },
    }

    def __init__(self, *, nullable: bool = False, **kwargs: Any) -> None:
        super().__init__(
            keys=fields.String(validate=[validate.Length(min=1, max=_MAX_KEY), _without_nul]),
            values=fields.String(validate=_fits, allow_none=nullable),
            most=MAX_KEYS,
            allow_none=nullable,
            **kwargs,
        )
        if nullable:
            known = self.json_schema.get("properties", {})
            self.json_schema = {
                **self.json_schema,
                "properties": {key: _or_null(schema) for key, schema in known.items()},
                "additionalProperties": _or_null(self.json_schema["additionalProperties"]),
            }


def _or_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _without_nul(text: str) -> None:
    if "\0" in text:
        raise ValidationError("Must not hold a NUL character.")


def _fits(text: str) -> None:
    _without_nul(text)
    if len(text.encode("utf-8")) > _MAX_VALUE_BYTES:
        raise ValidationError("Must be at most 4 KiB long.")
