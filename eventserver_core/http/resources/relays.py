"""The registry of relays: who they are, what they may, how they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import falcon
from pydantic import AliasChoices, Field

from eventserver_core.db.relays import RelayRecord
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.domain.relay import RelayState
from eventserver_core.errors import InvalidInputError, NotFoundError
from eventserver_core.http.access import ADMINS, MAYBE_ADMINS, Resource, caller, optional_caller
from eventserver_core.http.documents import Document, read_document, whole_number
from eventserver_core.http.openapi.answers.network import (
    NetworkStats,
    Relay,
    RelayAddresses,
    RelayHealth,
    RelayPage,
)
from eventserver_core.http.openapi.operation import (
    EXAMPLE_KEY,
    JSON,
    MERGE_PATCH,
    NOTHING,
    Answer,
    Operation,
    Parameter,
    RequestBody,
)
from eventserver_core.services.relay_health import CheckRelayHealth
from eventserver_core.services.relays import Relays

_MAX_PAGE = 500
_MAX_KEY = 255
_Name = Annotated[str, Field(min_length=1, max_length=262)]
_LOCATION = {"Location": {"type": "string"}}
_RELAY = {
    "networkAddress": "relay.example.org:8443",
    "publicKey": EXAMPLE_KEY,
    "region": "eu-west-1",
}


class RelayRegistration(Document):
    """A relay that runs already."""

    network_address: Annotated[_Name, Field(alias="networkAddress")]
    public_key: Annotated[dict[str, Any], Field(alias="publicKey")]
    region: Annotated[str, Field(min_length=1, max_length=64)]
    names: list[_Name] = []


class ProvisioningOrder(Document):
    """A relay to be launched; admin tools spell the type in two ways."""

    region: Annotated[str, Field(min_length=1, max_length=64)]
    instance_type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[\x21-\x7e]+$",
            validation_alias=AliasChoices("instance_type", "instanceType"),
        ),
    ]


class RelayPatch(Document):
    """What an admin makes of a relay."""

    state: Literal["active", "suspended"]
    reason: str | None = None


class RelaysResource(Resource):
    """``/api/v1/relays``: the active ones' addresses for anyone, all in full for admins."""

    access = {"GET": MAYBE_ADMINS, "POST": ADMINS}
    describes = {
        "GET": Operation(
            id="listRelays",
            summary="Where the active relays are; for admins all relays, in full",
            tag="relays",
            answers={
                200: Answer("With an admin's certificate a page.", RelayPage | RelayAddresses)
            },
            parameters=(
                Parameter("after", "Admins: `next` of the page before.", {"type": "string"}),
                Parameter(
                    "limit",
                    "Admins: how many.",
                    {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": 100},
                ),
                Parameter(
                    "state",
                    "Admins: only those in this state.",
                    {"type": "string", "enum": [state.value for state in RelayState]},
                ),
            ),
        ),
        "POST": Operation(
            id="registerRelay",
            summary="Register a relay that runs already",
            tag="relays",
            details="It waits for approval.",
            body=RequestBody({JSON: RelayRegistration}, {"a relay": _RELAY}),
            answers={
                200: Answer("The same was registered before.", Relay, headers=_LOCATION),
                201: Answer("It is on record.", Relay, headers=_LOCATION),
            },
            errors=("address_not_allowed", "conflict"),
        ),
    }

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.append_header("Vary", "Authorization")
        if optional_caller(req) is None:
            addresses = self._relays.active_addresses()
            resp.cache_control = ["public", "max-age=30"]
            resp.media = {"relays": [{"networkAddress": address} for address in addresses]}
            return
        limit = whole_number(req, "limit", 100, 1, _MAX_PAGE)
        found = self._relays.page(req.get_param("after"), limit + 1, _state(req))
        resp.cache_control = ["no-store"]
        resp.media = {
            "relays": [relay_document(relay) for relay in found[:limit]],
            # what to ask for next, as ?after=; null where this is the end
            "next": found[limit - 1].id if len(found) > limit else None,
        }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        sent = read_document(req, RelayRegistration)
        relay, created = self._relays.register(
            sent.network_address, sent.public_key, sent.region, sent.names, caller(req)
        )
        _created(resp, relay, falcon.HTTP_201 if created else falcon.HTTP_200)


class RelayProvisioningResource(Resource):
    """``POST /api/v1/relays/provision``: asks for a relay to be launched."""

    access = {"POST": ADMINS}
    describes = {
        "POST": Operation(
            id="provisionRelay",
            summary="Launch a relay",
            tag="relays",
            details="The worker launches the machine, which enrols by itself.",
            body=RequestBody(
                {JSON: ProvisioningOrder},
                {"a small machine": {"region": "us-east-1", "instance_type": "t3.micro"}},
            ),
            answers={202: Answer("It is being launched.", Relay, headers=_LOCATION)},
            parameters=(
                Parameter(
                    "Idempotency-Key",
                    "The same key gives the same relay, however often the request is sent.",
                    {"type": "string", "minLength": 1, "maxLength": _MAX_KEY},
                    "header",
                ),
            ),
            errors=("machine_not_allowed", "idempotency_key_reused", "quota_exceeded"),
        )
    }

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        sent = read_document(req, ProvisioningOrder)
        key = _unquoted(req.get_header("Idempotency-Key"))
        if key is not None and not (1 <= len(key) <= _MAX_KEY and key.isprintable()):
            raise InvalidInputError(f"Idempotency-Key: expected 1 to {_MAX_KEY} characters")
        relay = self._relays.provision(sent.region, sent.instance_type, key, caller(req))
        _created(resp, relay, falcon.HTTP_202)


class RelayStatsResource(Resource):
    """``GET /api/v1/relays/stats``: numbers over the network."""

    access = {"GET": ADMINS}
    describes = {
        "GET": Operation(
            id="getNetworkStats",
            summary="Numbers over the network",
            tag="relays",
            answers={200: Answer("As of now.", NetworkStats)},
        )
    }

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.cache_control = ["no-store"]
        resp.media = self._relays.stats()


class RelayResource(Resource):
    """``/api/v1/relays/{relay_id}``: one relay."""

    access = {"GET": ADMINS, "PATCH": ADMINS, "DELETE": ADMINS}
    describes = {
        "GET": Operation(
            id="getRelay",
            summary="Read a relay in full",
            tag="relays",
            answers={200: Answer("The relay.", Relay)},
        ),
        "PATCH": Operation(
            id="patchRelay",
            summary="Approve or suspend a relay",
            tag="relays",
            body=RequestBody(
                {JSON: RelayPatch, MERGE_PATCH: RelayPatch},
                {
                    "approve": {"state": "active"},
                    "suspend": {"state": "suspended", "reason": "odd traffic"},
                },
            ),
            answers={200: Answer("The relay as it is now.", Relay)},
            errors=("conflict",),
        ),
        "DELETE": Operation(
            id="decommissionRelay",
            summary="Decommission a relay, for good",
            tag="relays",
            answers={204: NOTHING},
        ),
    }

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_get(self, _req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        resp.cache_control = ["no-store"]
        resp.media = relay_document(self._relays.find(relay_id))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        sent = read_document(req, RelayPatch)
        state = RelayState(sent.state)
        resp.cache_control = ["no-store"]
        resp.media = relay_document(
            self._relays.set_state(relay_id, state, sent.reason, caller(req))
        )

    def on_delete(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        self._relays.decommission(relay_id, caller(req))
        resp.status = falcon.HTTP_204


class RelayHealthResource(Resource):
    """``GET /api/v1/relays/{relay_id}/health``: asks the relay, and says what it found."""

    access = {"GET": ADMINS}
    describes = {
        "GET": Operation(
            id="checkRelayHealth",
            summary="Ask a relay how it is",
            tag="relays",
            answers={200: Answer("What it said, or why it said nothing.", RelayHealth)},
            errors=("address_not_allowed",),
        )
    }

    def __init__(self, relays: Relays, check_health: CheckRelayHealth) -> None:
        self._relays = relays
        self._check_health = check_health

    def on_get(self, _req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        relay = self._relays.find(relay_id)
        if relay.network_address is None:
            raise NotFoundError("the relay has no address to be asked at")
        report = self._check_health.check(NetworkAddress.parse(relay.network_address))
        resp.cache_control = ["no-store"]
        resp.media = {
            "relayId": relay.id,
            "state": relay.state.value,
            "healthy": report.healthy,
            "checkedAt": format_rfc3339(report.checked_at),
            "address": report.address_called,
            "latencyMs": report.latency_ms,
            "detail": report.detail,
            "answer": report.answer,
        }


def relay_document(relay: RelayRecord) -> dict[str, Any]:
    """Return a relay in full, as admins see it."""

    def moment(value: Any) -> str | None:
        return None if value is None else format_rfc3339(value)

    return {
        "relayId": relay.id,
        "state": relay.state.value,
        "region": relay.region,
        "instanceType": relay.instance_type,
        "networkAddress": relay.network_address,
        "names": list(relay.names),
        "publicKey": relay.public_key,
        "machineId": relay.machine_id,
        "reason": relay.reason,
        "createdAt": moment(relay.created_at),
        "createdBy": relay.created_by,
        "stateChangedAt": moment(relay.state_changed_at),
        "enrolledAt": moment(relay.enrolled_at),
        "certificateExpiresAt": moment(relay.certificate_expires_at),
        "tlsCertificateExpiresAt": moment(relay.tls_expires_at),
        "tlsSerialNumber": relay.tls_serial,
    }


def _unquoted(key: str | None) -> str | None:
    """Return a key that was sent as a structured field's string (RFC 9651) or bare."""
    quoted = key is not None and len(key) >= 2 and key[0] == key[-1] == '"'
    return key[1:-1] if key is not None and quoted else key


def _created(resp: falcon.Response, relay: RelayRecord, status: str) -> None:
    resp.status = status
    resp.location = f"/api/v1/relays/{relay.id}"
    resp.cache_control = ["no-store"]
    resp.media = relay_document(relay)


def _state(req: falcon.Request) -> RelayState | None:
    text = req.get_param("state")
    if text is None:
        return None
    try:
        return RelayState(text)
    except ValueError as ex:
        raise InvalidInputError(f"state: expected one of {', '.join(RelayState)}") from ex
