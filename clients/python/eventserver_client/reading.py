"""Reads JSON documents into dataclasses: what isn't known is passed over, what lacks is a fault."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from eventserver_client.errors import ProtocolError

_T = TypeVar("_T")


def read(kind: type[_T], document: Any) -> _T:
    """Read a document into a dataclass, each field from the member of its name in camelCase.

    A field's metadata may have another ``name``, and an empty one stands for the whole document.
    A field that may be None is so where its member lacks.

    Raises:
        ProtocolError: it is no object, or a member lacks or has another type.
    """
    if not isinstance(document, Mapping):
        raise ProtocolError(f"the answer is no JSON object, as a {kind.__name__} is")
    return kind(
        **{
            field: _value(
                f"{kind.__name__}: {member}", wanted, document.get(member) if member else document
            )
            for field, member, wanted in _fields(kind)
        }
    )


def _fields(kind: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (field.name, field.metadata.get("name", _camel_case(field.name)), hints[field.name])
        for field in dataclasses.fields(kind)
    )


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _value(where: str, wanted: Any, found: Any) -> Any:
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    if found is None:
        if types.NoneType in options:
            return None
        raise ProtocolError(f"the answer lacks {where}")
    for option in options:
        kind = get_origin(option) or option
        if kind is datetime and isinstance(found, str):
            return _instant(where, found)
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            return float(found)
        if kind is tuple and isinstance(found, list):
            inner = get_args(option)[0]
            return tuple(_value(where, inner, item) for item in found)
        plain = kind in (str, bool, float, Mapping)
        if plain and isinstance(found, kind):
            return found
        if kind is int and isinstance(found, int) and not isinstance(found, bool):
            return found
    raise ProtocolError(f"the answer has something else than expected in {where}")


def _instant(where: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as ex:
        raise ProtocolError(f"the answer has no time in {where}") from ex
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
