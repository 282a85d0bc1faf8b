"""What Prometheus reads."""

from __future__ import annotations

import falcon

from eventserver_core.http.access import ANYONE, Resource
from eventserver_core.http.openapi.operation import Answer, Operation
from eventserver_core.metrics.scrape import CONTENT_TYPE, Scrape


class MetricsResource(Resource):
    """``GET /metrics``: what was counted, in all processes of this server.

    It is for those who run the server: a proxy keeps it from everybody else.
    """

    access = {"GET": ANYONE}
    describes = {
        "GET": Operation(
            id="getMetrics",
            summary="What Prometheus reads",
            tag="server",
            answers={200: Answer("Prometheus's text format.", media_type="text/plain")},
        )
    }

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.cache_control = ["no-store"]
        resp.content_type = CONTENT_TYPE
        resp.data = self._scrape.text()
