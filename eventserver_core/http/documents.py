"""JSON bodies that are not event packages, the query parameters of lists, and cached answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import falcon
from pydantic import BaseModel, ConfigDict, ValidationError

from eventserver_core.domain.canonical import parse_ijson, pointer
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import (
    Fault,
    InvalidInputError,
    InvalidPackageError,
    UnsupportedMediaError,
)
from eventserver_core.http.body import Body

MAX_SIZE = 64 * 1024
_SECONDS = 10.0
_JSON = (falcon.MEDIA_JSON, "application/merge-patch+json")


class Document(BaseModel):
    """The base of what admins and relays send: types as they are, and no unknown members."""

    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)


_Sent = TypeVar("_Sent", bound=Document)


def read_document(req: falcon.Request, model: type[_Sent], max_size: int = MAX_SIZE) -> _Sent:
    """Return the body as the model has it.

    Raises:
        UnsupportedMediaError: it isn't declared as JSON.
        InvalidInputError: it is not JSON, or not what is asked for; with every fault.
    """
    if (req.content_type or "").partition(";")[0].strip().lower() not in _JSON:
        raise UnsupportedMediaError("send application/json")
    content = Body(req, max_size, _SECONDS).read_all()
    try:
        return model.model_validate(parse_ijson(content))
    except InvalidPackageError as ex:
        raise InvalidInputError("the body is not JSON as it is taken", ex.faults) from ex
    except ValidationError as ex:
        faults = [
            Fault(pointer(*error["loc"]), error["msg"])
            for error in ex.errors(include_url=False, include_input=False)
        ]
        raise InvalidInputError("the body is not what is asked for", faults) from ex


def whole_number(req: falcon.Request, name: str, default: int, low: int, high: int) -> int:
    """Return a query parameter that is a whole number.

    Raises:
        InvalidInputError: it is something else, or not from ``low`` to ``high``.
    """
    text = req.get_param(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 16 or not low <= int(text) <= high:
        raise InvalidInputError(f"{name}: expected a whole number from {low} to {high}")
    return int(text)


def answer_unless_known(
    req: falcon.Request,
    resp: falcon.Response,
    content: bytes,
    cache_control: Sequence[str],
    same_as: bytes | None = None,
) -> None:
    """Answer with JSON, or with 304 to whoever has it already (RFC 9110, section 13.1.2).

    Args:
        req: who asks, and for what.
        resp: the answer.
        content: JSON.
        cache_control: how long it may be kept.
        same_as: what of the content matters, where not every byte does: what has the same of that
            is as good, and the ``ETag`` is a weak one.
    """
    tag = sha256_hex(content if same_as is None else same_as)[:32]
    resp.etag = tag if same_as is None else f'W/"{tag}"'
    resp.cache_control = cache_control
    # weak comparison, as a 304 wants it: whether a tag is strong doesn't matter here
    if any(known in ("*", tag) for known in req.if_none_match or ()):
        resp.status = falcon.HTTP_304
        return
    resp.content_type = falcon.MEDIA_JSON
    resp.data = content
