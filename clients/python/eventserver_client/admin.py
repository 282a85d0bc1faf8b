"""What admins do: they run the network of relays, let others in, and read the audit trail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

from eventserver_client.answers import (
    Admin,
    AdminCertificate,
    AuditPage,
    EnrollmentToken,
    Relay,
    RelayHealth,
)
from eventserver_client.client import Client, members, path_of
from eventserver_client.errors import NotYetError, ProtocolError
from eventserver_client.keys import SigningKey
from eventserver_client.polling import poll
from eventserver_client.reading import read
from eventserver_client.signing import assert_admin, authorize_key, subject_of
from eventserver_client.transport import post_json

_OVER = ("failed", "suspended", "decommissioned")
"""States from which a relay doesn't become active by itself."""


class AdminClient(Client):
    """Calls an EventServer as an admin does."""

    def register_relay(
        self,
        network_address: str,
        public_key: Mapping[str, Any],
        region: str,
        names: Sequence[str] = (),
    ) -> Relay:
        """Register a relay that runs already.

        Args:
            network_address: host, or host and port.
            public_key: of its one key, as a JWK.
            region: where it is.
            names: more DNS names and IP addresses for its TLS certificate.

        Returns:
            The relay; the same one where it is registered already, with this key, address and
            region.
        """
        document: dict[str, Any] = {
            "networkAddress": network_address,
            "publicKey": dict(public_key),
            "region": region,
        }
        if names:
            document["names"] = list(names)
        answer = self._transport.call(
            "POST",
            path_of("relays"),
            wanted=(HTTPStatus.CREATED, HTTPStatus.OK),
            content=post_json(document),
        )
        return read(Relay, answer.document())

    def provision_relay(
        self, region: str, instance_type: str, idempotency_key: str | None = None
    ) -> Relay:
        """Have a relay launched.

        Args:
            region: as the provisioning backend names it, such as ``us-east-1``.
            instance_type: such as ``t3.micro``.
            idempotency_key: one relay for one key, however often it is asked for; made here
                and kept over this call's own repetitions unless given.
        """
        key = idempotency_key or str(uuid.uuid4())
        send = post_json({"region": region, "instance_type": instance_type})

        def content(opened: ExitStack) -> Mapping[str, Any]:
            made = send(opened)
            return {**made, "headers": {**made["headers"], "Idempotency-Key": key}}

        answer = self._transport.call(
            "POST",
            path_of("relays", "provision"),
            wanted=(HTTPStatus.ACCEPTED, HTTPStatus.OK),
            content=content,
        )
        return read(Relay, answer.document())

    def relays(self) -> Sequence[Relay]:
        """Return all relays in full, those that are over too, page by page."""
        found: dict[str, Relay] = {}
        after: dict[str, str] = {}
        while True:
            document = self._transport.call("GET", path_of("relays"), params=after).document()
            page = [read(Relay, relay) for relay in members(document, "relays")]
            found |= {relay.relay_id: relay for relay in page}
            following = document.get("next")
            if following is None:
                return list(found.values())
            if not isinstance(following, str) or after.get("after") == following or not page:
                raise ProtocolError("the list of relays goes in circles")
            after = {"after": following}

    def relay(self, relay_id: str) -> Relay:
        """Return one relay."""
        return read(Relay, self._transport.call("GET", path_of("relays", relay_id)).document())

    def approve(self, relay_id: str, reason: str | None = None) -> Relay:
        """Make a relay active, or active again."""
        return self._change(relay_id, "active", reason)

    def suspend(self, relay_id: str, reason: str | None = None) -> Relay:
        """Have a relay refused everywhere, until it is approved again."""
        return self._change(relay_id, "suspended", reason)

    def decommission(self, relay_id: str) -> None:
        """End a relay, and its machine, for good."""
        self._delete("relays", relay_id)

    def enrollment(self, relay_id: str) -> EnrollmentToken:
        """Make a new one-time token for a relay to enrol with."""
        path = path_of("relays", relay_id, "enrollment")
        answer = self._transport.call("POST", path, wanted=(HTTPStatus.CREATED,))
        return read(EnrollmentToken, answer.document())

    def relay_health(self, relay_id: str) -> RelayHealth:
        """Have the server ask a relay how it is."""
        path = path_of("relays", relay_id, "health")
        return read(RelayHealth, self._transport.call("GET", path).document())

    def relay_stats(self) -> dict[str, Any]:
        """Return numbers over the network."""
        return _object(self._transport.call("GET", path_of("relays", "stats")).document())

    def wait_until_active(self, relay_id: str, timeout: float) -> Relay:
        """Return a relay once it is active.

        Args:
            relay_id: the relay's.
            timeout: seconds.

        Raises:
            NotYetError: it isn't in time, or it is over with it.
        """

        def ask() -> tuple[Relay | None, float | None]:
            relay = self.relay(relay_id)
            if relay.state in _OVER:
                raise NotYetError(f"relay {relay_id} is {relay.state}: {relay.reason or 'no why'}")
            return (relay if relay.state == "active" else None), None

        relay = poll(ask, timeout)
        if relay is None:
            raise NotYetError(f"relay {relay_id} is not active within {timeout:g} seconds")
        return relay

    def authorize_admin(
        self, name: str, public_key_jwk: Mapping[str, Any], signing_key: SigningKey
    ) -> Admin:
        """Let another admin in, by signing for its public key.

        Args:
            name: the new admin's.
            public_key_jwk: the new admin's; the private key stays with its owner.
            signing_key: the key that this client's certificate binds.

        Raises:
            ValueError: there is no certificate that says who signs, the public key is none, or
                the signing key is not EC P-256.
        """
        issuer = subject_of(self._transport.certificate() or "")
        authorization = authorize_key(issuer, name, public_key_jwk, signing_key)
        document = {
            "name": name,
            "publicKey": dict(public_key_jwk),
            "authorization": authorization,
        }
        answer = self._transport.call(
            "POST",
            path_of("admins"),
            wanted=(HTTPStatus.CREATED, HTTPStatus.OK),
            content=post_json(document),
        )
        return read(Admin, answer.document())

    def obtain_certificate(self, admin_id: str, signing_key: SigningKey) -> AdminCertificate:
        """Get an admin's own certificate by its own key; no certificate is needed for this.

        Raises:
            ValueError: the key is not EC P-256.
        """

        def content(opened: ExitStack) -> Mapping[str, Any]:
            # signed anew for each try: each works once
            return post_json({"assertion": assert_admin(admin_id, signing_key)})(opened)

        answer = self._transport.call(
            "POST",
            path_of("admins", admin_id, "certificate"),
            wanted=(HTTPStatus.CREATED,),
            bearer=False,
            content=content,
        )
        return read(AdminCertificate, answer.document())

    def admins(self) -> Sequence[Admin]:
        """Return all admins."""
        document = self._transport.call("GET", path_of("admins")).document()
        return [read(Admin, admin) for admin in members(document, "admins")]

    def withdraw_admin(self, admin_id: str) -> None:
        """End an admin, and every certificate that it holds."""
        self._delete("admins", admin_id)

    def revoke_certificate(self, certificate_id: str) -> None:
        """Revoke a certificate by its ``jti``."""
        self._delete("certificates", certificate_id)

    def put_label(self, label_id: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Define a field that events are described with."""
        answer = self._transport.call(
            "PUT",
            path_of("labels", label_id),
            wanted=(HTTPStatus.OK, HTTPStatus.CREATED),
            content=post_json(definition),
        )
        return _object(answer.document())

    def delete_label(self, label_id: str) -> None:
        """Take a field's definition back."""
        self._delete("labels", label_id)

    def audit(self, after: int = 0, limit: int = 100) -> AuditPage:
        """Return the entries of the audit trail that follow a sequence number."""
        params = {"after": after, "limit": limit}
        answer = self._transport.call("GET", path_of("audit"), params=params)
        return read(AuditPage, answer.document())

    def audit_entries(self, after: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield all entries that follow a sequence number, page by page."""
        while entries := self.audit(after).entries:
            for entry in entries:
                sequence = entry.get("sequence")
                if not isinstance(sequence, int) or sequence <= after:
                    raise ProtocolError("the audit trail's entries are out of order")
                after = sequence
                yield entry

    def _change(self, relay_id: str, state: str, reason: str | None) -> Relay:
        document = {"state": state} | ({} if reason is None else {"reason": reason})
        path = path_of("relays", relay_id)
        answer = self._transport.call("PATCH", path, content=post_json(document))
        return read(Relay, answer.document())

    def _delete(self, *segments: str) -> None:
        self._transport.call("DELETE", path_of(*segments), wanted=(HTTPStatus.NO_CONTENT,))


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ProtocolError("the answer is no JSON object")
    return document
