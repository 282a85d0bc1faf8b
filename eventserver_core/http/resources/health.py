"""How well the server is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon

import eventserver_core
from eventserver_core.domain import instant
from eventserver_core.http.access import ANYONE, Resource
from eventserver_core.http.openapi.answers.server import Health as HealthAnswer
from eventserver_core.http.openapi.answers.server import Liveness, Readiness
from eventserver_core.http.openapi.operation import Answer, Operation
from eventserver_core.services.health import CheckHealth, Health

_LATER = {"Retry-After": {"type": "integer"}}


class HealthResource(Resource):
    """``GET /health``: everything that is depended on; 503 when events can't be taken."""

    access = {"GET": ANYONE}
    describes = {
        "GET": Operation(
            id="getHealth",
            summary="How well the server is",
            tag="server",
            answers={
                200: Answer("Events can be taken.", HealthAnswer),
                503: Answer("Events can't be taken.", HealthAnswer, headers=_LATER),
            },
        )
    }

    def __init__(self, health: CheckHealth) -> None:
        self._health = health

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, self._health.check())


class LivenessResource(Resource):
    """``GET /health/live``: this process answers; no dependency is asked."""

    access = {"GET": ANYONE}
    describes = {
        "GET": Operation(
            id="getLiveness",
            summary="Does this process answer?",
            tag="server",
            answers={200: Answer("It does.", Liveness)},
        )
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.cache_control = ["no-store"]
        resp.media = {"status": "alive"}


class ReadinessResource(Resource):
    """``GET /health/ready``: whether to send requests here."""

    access = {"GET": ANYONE}
    describes = {
        "GET": Operation(
            id="getReadiness",
            summary="Whether to send requests here",
            tag="server",
            answers={
                200: Answer("Send them.", Readiness),
                503: Answer("Send them elsewhere.", Readiness, headers=_LATER),
            },
        )
    }

    def __init__(self, readiness: CheckHealth, draining: Callable[[], bool]) -> None:
        self._readiness = readiness
        self._draining = draining

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        if self._draining():
            _answer(resp, Health("draining", {}, None, None))
        else:
            _answer(resp, self._readiness.check())


def _answer(resp: falcon.Response, health: Health) -> None:
    answer: dict[str, Any] = {
        "status": health.status,
        "timestamp": instant.format_rfc3339(instant.now()),
        "services": dict(health.services),
        "version": eventserver_core.__version__,
    }
    if health.backlog is not None:
        answer["anchoring"] = {
            "backlog": health.backlog.waiting,
            "oldestAgeSeconds": health.oldest_age,
            "failing": health.backlog.last_error is not None,
        }
    resp.cache_control = ["no-store"]
    resp.status = falcon.HTTP_200
    if health.status in ("unhealthy", "draining"):
        resp.status = falcon.HTTP_503
        resp.set_header("Retry-After", "5")
    resp.media = answer
