"""Labels: what an event's fields mean, for everyone to read and for admins to define."""

from __future__ import annotations

import json
import re
from typing import Any

import falcon

from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.labels import LabelVersion
from eventserver_core.errors import InvalidInputError, NotFoundError, UnsupportedMediaError
from eventserver_core.http.access import ADMINS, PUBLIC, Resource, caller
from eventserver_core.http.body import Body
from eventserver_core.http.documents import answer_unless_known
from eventserver_core.http.openapi.answers import labels as answers
from eventserver_core.http.openapi.operation import (
    ETAG,
    IF_NONE_MATCH,
    JSON,
    NOT_MODIFIED,
    NOTHING,
    Answer,
    Operation,
    Parameter,
    RequestBody,
)
from eventserver_core.http.resources.label_definition import (
    MAX_OPTIONS,
    AnyLabel,
    read_sent_definition,
)
from eventserver_core.services.labels import Labels

_MAX_BODY = 1024 * 1024
_BODY_SECONDS = 5.0
_CACHE_CONTROL = ["public", "max-age=60"]
# web clients take . and .. out of a path, so nobody could ask for such a label
_LABEL_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")
_CATEGORY = {
    "name_en": "Category",
    "name_fr": "Catégorie",
    "type": "enum",
    "required": True,
    "options": ["Music", {"value": "arts", "name_en": "Visual arts", "name_fr": "Arts visuels"}],
}


class LabelsResource(Resource):
    """``GET /api/v1/labels``: the labels in force."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="listLabels",
            summary="List the labels in force",
            tag="labels",
            answers={
                200: Answer("Sorted by `labelId`.", answers.LabelList, headers=ETAG),
                304: NOT_MODIFIED,
            },
            parameters=(IF_NONE_MATCH,),
        )
    }

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer(req, resp, {"labels": [_record(version) for version in self._labels.list()]})


class LabelResource(Resource):
    """``/api/v1/labels/{labelId}``: one label, for admins to define and to delete."""

    access = {"GET": PUBLIC, "PUT": ADMINS, "DELETE": ADMINS}
    describes = {
        "GET": Operation(
            id="getLabel",
            summary="Read a label with its versions, or one version of it",
            tag="labels",
            answers={
                200: Answer(
                    "With its versions, or just the one that was asked for.",
                    answers.LabelWithVersions | answers.Label | answers.DeletedLabel,
                    headers=ETAG,
                ),
                304: NOT_MODIFIED,
            },
            parameters=(
                Parameter(
                    "version",
                    "Only this version; a deleted label's can be asked for too.",
                    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
                ),
                IF_NONE_MATCH,
            ),
        ),
        "PUT": Operation(
            id="putLabel",
            summary="Define a label",
            tag="labels",
            details=f"The same definition again changes nothing. At most {MAX_OPTIONS} options.",
            body=RequestBody({JSON: AnyLabel}, {"an enum": _CATEGORY}),
            answers={
                200: Answer("It was in force already; this is its newest version.", answers.Label),
                201: Answer(
                    "It is in force from now on.",
                    answers.Label,
                    headers={"Location": {"type": "string"}},
                ),
            },
        ),
        "DELETE": Operation(
            id="deleteLabel",
            summary="Delete a label; its versions stay on record",
            tag="labels",
            answers={204: NOTHING},
        ),
    }

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def on_get(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        history = self._labels.get(_checked(label_id))
        if (wanted := req.get_param("version")) is not None:
            if not _VERSION.match(wanted):
                raise InvalidInputError("a version is a whole number from 1 on")
            found = [version for version in history if version.version == int(wanted)]
            if not found:
                raise NotFoundError("this label has no such version")
            _answer(req, resp, _record(found[0]))
            return
        if history[-1].definition is None:
            raise NotFoundError("this label was deleted; its versions can be asked for")
        versions = [_version(version) for version in history]
        _answer(req, resp, _record(history[-1]) | {"versions": versions})

    def on_put(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        if (req.content_type or "").partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
            raise UnsupportedMediaError("send application/json")
        definition = read_sent_definition(Body(req, _MAX_BODY, _BODY_SECONDS).read_all())
        version, created, _ = self._labels.put(_checked(label_id), definition, caller(req))
        if created:
            resp.status = falcon.HTTP_201
            resp.set_header("Location", f"/api/v1/labels/{label_id}")
        resp.cache_control = ["no-store"]
        resp.media = _record(version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        self._labels.delete(_checked(label_id), caller(req))
        resp.status = falcon.HTTP_204


def _checked(label_id: str) -> str:
    if not _LABEL_ID.match(label_id):
        raise InvalidInputError(
            "a label's id is 1 to 64 of the letters A to Z and a to z, digits, '.', '_' and '-'"
        )
    return label_id


def _record(version: LabelVersion) -> dict[str, Any]:
    return {
        "labelId": version.label_id,
        "version": version.version,
        **_meaning(version),
        "updatedAt": format_rfc3339(version.made_at),
    }


def _version(version: LabelVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        **_meaning(version, "definition"),
        "madeAt": format_rfc3339(version.made_at),
    }


def _meaning(version: LabelVersion, name: str = "") -> dict[str, Any]:
    if version.definition is None:
        return {"deleted": True}
    document = version.definition.document()
    return {name: document} if name else document


def _answer(req: falcon.Request, resp: falcon.Response, document: dict[str, Any]) -> None:
    answer_unless_known(req, resp, json.dumps(document).encode(), _CACHE_CONTROL)
