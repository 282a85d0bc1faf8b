"""What this API is, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property

import falcon

from eventserver_core.errors import NotFoundError
from eventserver_core.http.access import PUBLIC, Resource
from eventserver_core.http.documents import answer_unless_known
from eventserver_core.http.openapi import page
from eventserver_core.http.openapi.document import describe
from eventserver_core.http.openapi.operation import (
    ETAG,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    Answer,
    Operation,
)

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_CACHE_CONTROL = ["public", "max-age=300"]
_DESCRIPTION = Answer("OpenAPI 3.1.", dict[str, object], headers=ETAG)


class DescriptionResource(Resource):
    """``GET /openapi.json``: the description of every route.

    Args:
        routes: the resources to be described, by their URI templates.
    """

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getDescription",
            summary="This description",
            tag="server",
            answers={200: _DESCRIPTION, 304: NOT_MODIFIED},
            parameters=(IF_NONE_MATCH,),
        )
    }

    def __init__(self, routes: Mapping[str, Resource]) -> None:
        self._routes = routes

    @cached_property
    def _content(self) -> bytes:
        document = describe(self._routes)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer_unless_known(req, resp, self._content, _CACHE_CONTROL)


class OtherDescriptionResource(DescriptionResource):
    """``GET /openapi-json``: the same, by its other name."""

    describes = {
        "GET": Operation(
            id="getDescriptionByItsOtherName",
            summary="This description, by its other name",
            tag="server",
            answers={200: _DESCRIPTION, 304: NOT_MODIFIED},
            parameters=(IF_NONE_MATCH,),
        )
    }


class PageResource(Resource):
    """``GET /docs``: a page to read the description with, and to try it."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getPage",
            summary="A page to try this API with",
            tag="server",
            answers={200: Answer("The page.", media_type="text/html")},
        )
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = page.index()
        resp.content_type = "text/html; charset=utf-8"
        resp.cache_control = ["no-cache"]
        resp.set_header("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
        resp.set_header("X-Frame-Options", "DENY")
        resp.set_header("Referrer-Policy", "no-referrer")


class PageFileResource(Resource):
    """``GET /docs/{edition}/{file_name}``: what the page is made of, to be kept for ever."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getPageFile",
            summary="A file of the page",
            tag="server",
            answers={200: Answer("The file.", media_type="*/*")},
        )
    }

    def on_get(
        self, _req: falcon.Request, resp: falcon.Response, edition: str, file_name: str
    ) -> None:
        found = page.find(file_name) if edition == page.edition() else None
        if found is None:
            raise NotFoundError("the page has no such file")
        resp.content_type, resp.data = found
        resp.cache_control = ["public", "max-age=31536000", "immutable"]
