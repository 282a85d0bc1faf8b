"""What is counted, for ``/metrics``: every metric by its name, in Prometheus' words.

Labels are words of ours, templates of routes and names of plugins, never what a caller sent: so
there are only so many series. Where ``PROMETHEUS_MULTIPROC_DIR`` was set before this was imported
each process counts in files there, and whichever is scraped answers for all of them.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
"""Ours alone: what other libraries count is theirs to show."""

_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

HTTP_REQUESTS = Counter(
    "eventserver_http_requests",
    "Requests answered.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
HTTP_SECONDS = Histogram(
    "eventserver_http_request_seconds",
    "Time until a request's answer began.",
    ["route", "status_class"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
HTTP_IN_FLIGHT = Gauge(
    "eventserver_http_requests_in_flight",
    "Requests being answered.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
HTTP_PROBLEMS = Counter(
    "eventserver_http_problems",
    "Answers that were problems, by code.",
    ["code"],
    registry=REGISTRY,
)
HTTP_RECEIVED_BYTES = Counter(
    "eventserver_http_received_bytes", "Bytes read from callers.", registry=REGISTRY
)
EVENTS = Counter(
    "eventserver_events",
    "Events handed in: stored, repeated or refused.",
    ["outcome", "code"],
    registry=REGISTRY,
)
MEDIA_BYTES = Counter(
    "eventserver_media_bytes", "Bytes of media of the events stored.", registry=REGISTRY
)
BACKEND_CALLS = Counter(
    "eventserver_backend_calls",
    "Calls of backends.",
    ["role", "plugin", "operation", "outcome"],
    registry=REGISTRY,
)
BACKEND_SECONDS = Histogram(
    "eventserver_backend_call_seconds",
    "How long a backend's calls took.",
    ["role", "plugin", "operation"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
DATABASE_CONNECTIONS = Gauge(
    "eventserver_database_connections",
    "Connections to PostgreSQL.",
    ["state"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DATABASE_WAITING = Gauge(
    "eventserver_database_waiting",
    "Threads that wait for a connection.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
RATELIMIT_REFUSALS = Counter(
    "eventserver_ratelimit_refusals",
    "Calls refused for their number, by class of routes.",
    ["route_class"],
    registry=REGISTRY,
)
LOG_EVENTS = Counter(
    "eventserver_log_events",
    "Warnings and errors logged, by event.",
    ["level", "event"],
    registry=REGISTRY,
)
BATCHES = Counter(
    "eventserver_batches",
    "What became of batches: sealed, anchored, confirmed, lost, failed.",
    ["outcome"],
    registry=REGISTRY,
)
ANCHORED_AT = Gauge(
    "eventserver_anchored_timestamp_seconds",
    "When a batch was last found in a block.",
    multiprocess_mode="max",
    registry=REGISTRY,
)
WORKER_ROUND_AT = Gauge(
    "eventserver_worker_round_timestamp_seconds",
    "When a worker last went round its loop.",
    multiprocess_mode="max",
    registry=REGISTRY,
)
WORKER_HOLDS_LEASE = Gauge(
    "eventserver_worker_holds_lease",
    "Whether a worker here is the one that works.",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
ACCOUNT_BALANCE = Gauge(
    "eventserver_account_balance_wei",
    "What the account that anchors has.",
    ["network"],
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
ANCHOR_COST = Gauge(
    "eventserver_anchor_cost_wei",
    "The most that one anchor may cost now.",
    ["network"],
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
ACCOUNT_ANCHORS = Gauge(
    "eventserver_account_anchors",
    "How many anchors the balance pays for.",
    ["network"],
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
ACCOUNT_ASKED_AT = Gauge(
    "eventserver_account_asked_timestamp_seconds",
    "When the account was last looked up.",
    ["network"],
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
PROCESS_STARTED_AT = Gauge(
    "eventserver_process_start_time_seconds",
    "When a process began.",
    ["role"],
    multiprocess_mode="liveall",
    registry=REGISTRY,
)
