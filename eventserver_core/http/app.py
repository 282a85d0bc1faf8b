"""The Falcon application: which resource is where."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import falcon
from falcon.media import JSONHandler

from eventserver_core.backends.ratelimit import RateLimiter
from eventserver_core.http import errors
from eventserver_core.http.access import Resource
from eventserver_core.http.middleware.allow_origins import AllowOrigins
from eventserver_core.http.middleware.authenticate import Authenticate
from eventserver_core.http.middleware.authorize import Authorize
from eventserver_core.http.middleware.limit_rate import LimitRate, RateLimits
from eventserver_core.http.middleware.tag_request import TagRequest
from eventserver_core.http.network import NetworkServices, network_routes
from eventserver_core.http.resources.batches import EventBatchesResource
from eventserver_core.http.resources.description import (
    DescriptionResource,
    OtherDescriptionResource,
    PageFileResource,
    PageResource,
)
from eventserver_core.http.resources.event import (
    EventPackageResource,
    EventProofResource,
    EventResource,
    EventVerificationResource,
)
from eventserver_core.http.resources.events import EventsResource, SignedEventsResource
from eventserver_core.http.resources.health import (
    HealthResource,
    LivenessResource,
    ReadinessResource,
)
from eventserver_core.http.resources.identity import (
    KeySetResource,
    PowChallengeResource,
    PowVerificationResource,
)
from eventserver_core.http.resources.metrics import MetricsResource
from eventserver_core.json_text import write_json
from eventserver_core.metrics.scrape import Scrape
from eventserver_core.services.evidence import EvidenceArchive
from eventserver_core.services.health import CheckHealth
from eventserver_core.services.identity import Identities
from eventserver_core.services.ingest import IngestEvents
from eventserver_core.services.verification import Verifications

_EXPOSED = "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, traceresponse, X-Request-ID"


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What the HTTP side needs to know of the settings.

    Attributes:
        max_json_size: the largest JSON body in bytes.
        max_file_size: the largest media in bytes.
        max_batch_events: the most lines of a batch.
        max_batch_size: the largest batch in bytes.
        request_timeout: how long a body may take, in seconds.
        rate_limits: what one identity may use.
        allowed_origins: web origins whose pages may call.
        trusted_proxies: networks whose X-Forwarded-For is believed.
    """

    max_json_size: int
    max_file_size: int
    max_batch_events: int
    max_batch_size: int
    request_timeout: float
    rate_limits: RateLimits
    allowed_origins: Sequence[str]
    trusted_proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


def create_app(
    *,
    ingest: IngestEvents,
    identities: Identities,
    verifications: Verifications,
    archive: EvidenceArchive,
    network: NetworkServices,
    health: CheckHealth,
    readiness: CheckHealth,
    draining: Callable[[], bool],
    scrape: Scrape,
    limiter: RateLimiter,
    options: HttpOptions,
) -> falcon.App[Any, Any]:
    """Put the application together."""
    middleware: list[Any] = [
        TagRequest(),
        Authenticate(identities),
        LimitRate(limiter, options.rate_limits, options.trusted_proxies),
        Authorize(network.audit),
    ]
    if options.allowed_origins:
        origins = "*" if "*" in options.allowed_origins else options.allowed_origins
        middleware.append(AllowOrigins(allow_origins=origins, expose_headers=_EXPOSED))
    app: falcon.App[Any, Any] = falcon.App(middleware=middleware)
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSONHandler(dumps=write_json)
    app.req_options.strip_url_path_trailing_slash = False
    errors.install(app)
    sending: dict[str, Any] = {
        "max_json_size": options.max_json_size,
        "max_file_size": options.max_file_size,
        "request_timeout": options.request_timeout,
    }
    routes: dict[str, Resource] = {
        "/api/v1/events": EventsResource(ingest, identities, **sending),
        "/api/v1/events/package": SignedEventsResource(ingest, identities, **sending),
        "/api/v1/events/batch": EventBatchesResource(
            ingest,
            identities,
            max_events=options.max_batch_events,
            max_size=options.max_batch_size,
            max_json_size=options.max_json_size,
            request_timeout=options.request_timeout,
        ),
        "/api/v1/events/{digest_hex}": EventResource(archive),
        "/api/v1/events/{digest_hex}/verify": EventVerificationResource(verifications),
        "/api/v1/events/{digest_hex}/proof": EventProofResource(verifications),
        "/api/v1/events/{digest_hex}/package": EventPackageResource(archive),
        "/api/v1/pow/challenge": PowChallengeResource(identities),
        "/api/v1/pow/verify": PowVerificationResource(identities),
        "/.well-known/jwks.json": KeySetResource(identities),
        "/health": HealthResource(health),
        "/health/live": LivenessResource(),
        "/health/ready": ReadinessResource(readiness, draining),
        "/metrics": MetricsResource(scrape),
        **network_routes(network),
    }
    routes |= {
        "/openapi.json": DescriptionResource(routes),
        "/openapi-json": OtherDescriptionResource(routes),
        "/docs": PageResource(),
        "/docs/{edition}/{file_name}": PageFileResource(),
    }
    for template, resource in routes.items():
        app.add_route(template, resource)
    return app
