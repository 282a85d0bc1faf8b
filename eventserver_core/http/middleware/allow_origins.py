"""Lets pages of other origins call, and keeps caches from mixing their answers up."""

from __future__ import annotations

from typing import Any

import falcon


class AllowOrigins(falcon.CORSMiddleware[Any, Any]):
    """Falcon's own, which doesn't say that its answer depends on who asked (Fetch, 3.3.7)."""

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        super().process_response(req, resp, resource, req_succeeded)
        if self.allow_origins != "*":
            resp.append_header("Vary", "Origin")
