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
from eventserver_core.services.relay_health import CheckRelayHealth
from eventserver_core.services.relays import Relays

_MAX_PAGE = 500
_MAX_KEY = 255
_Name = Annotated[str, Field(min_length=1, max_length=262)]


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
        relay = self._relays.register(
            sent.network_address, sent.public_key, sent.region, sent.names, caller(req)
        )
        _created(resp, relay, falcon.HTTP_201)


class RelayProvisioningResource(Resource):
    """``POST /api/v1/relays/provision``: asks for a relay to be launched."""

    access = {"POST": ADMINS}

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        sent = read_document(req, ProvisioningOrder)
        key = req.get_header("Idempotency-Key")
        if key is not None and not (1 <= len(key) <= _MAX_KEY and key.isprintable()):
            raise InvalidInputError(f"Idempotency-Key: expected 1 to {_MAX_KEY} characters")
        relay = self._relays.provision(sent.region, sent.instance_type, key, caller(req))
        _created(resp, relay, falcon.HTTP_202)


class RelayStatsResource(Resource):
    """``GET /api/v1/relays/stats``: numbers over the network."""

    access = {"GET": ADMINS}

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.cache_control = ["no-store"]
        resp.media = self._relays.stats()


class RelayResource(Resource):
    """``/api/v1/relays/{relay_id}``: one relay."""

    access = {"GET": ADMINS, "PATCH": ADMINS, "DELETE": ADMINS}

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
