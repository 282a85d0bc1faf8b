"""What the tests of the network share: admins and relays with keys of their own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey

from eventserver_core.db.relays import RelayRepository
from eventserver_core.domain.keys import thumbprint
from eventserver_core.wiring import Services

from .exchange import Answer, Client, bearer, seconds

RELAYS = "/api/v1/relays"
ADMINS = "/api/v1/admins"
AUDIT = "/api/v1/audit"
ADDRESS = "198.51.101.7"
"""Public, as relays' addresses are; nothing is ever sent there."""


class Admin:
    """An admin, with the key that never leaves it.

    Args:
        client: sends its requests.
        name: for people.
    """

    def __init__(self, client: Client, name: str = "alice") -> None:
        self.client = client
        self.name = name
        self.key = ECKey.generate_key("P-256")
        self.jwk: dict[str, Any] = self.key.as_dict(private=False)
        self.id = ""
        self.headers: dict[str, str] = {}

    def bootstrap(self, services: Services, *, force: bool = False) -> Admin:
        """Become the first admin."""
        admin, issued = services.network.admins.bootstrap(self.name, self.jwk, force=force)
        self.id, self.headers = admin.id, bearer(issued.token)
        return self

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Sign claims as a JWT."""
        registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        header = {"alg": "ES256", "typ": typ}
        return jws.serialize_compact(header, json.dumps(claims), self.key, registry=registry)

    def authorization(self, other: Admin, **changed: Any) -> str:
        """Vouch for another admin's key."""
        claims = {
            "iss": self.id,
            "aud": "eventserver",
            "sub": thumbprint(other.jwk),
            "name": other.name,
            "iat": seconds(),
            "exp": seconds(600),
        }
        return self.sign(changed.pop("typ", "admin-authorization+jwt"), claims | changed)

    def authorize(self, other: Admin, authorization: str | None = None) -> Answer:
        """Let another admin in."""
        sent = {
            "name": other.name,
            "publicKey": other.jwk,
            "authorization": authorization or self.authorization(other),
        }
        answer = self.client.simulate_post(ADMINS, json=sent, headers=self.headers)
        if answer.status_code in (200, 201):
            other.id = answer.json["adminId"]
        return answer

    def assertion(self, **changed: Any) -> str:
        """Show that the key is its own."""
        claims = {
            "iss": self.id,
            "sub": self.id,
            "aud": "eventserver",
            "iat": seconds(),
            "exp": seconds(120),
            "jti": secrets.token_hex(8),
        }
        return self.sign(changed.pop("typ", "admin-assertion+jwt"), claims | changed)

    def obtain_certificate(self, assertion: str | None = None) -> Answer:
        """Ask for a certificate, and keep it."""
        answer = self.client.simulate_post(
            f"{ADMINS}/{self.id}/certificate", json={"assertion": assertion or self.assertion()}
        )
        if answer.status_code == 201:
            self.headers = bearer(answer.json["certificate"])
        return answer

    def get(self, path: str, **params: Any) -> Answer:
        """Ask for something."""
        return self.client.simulate_get(path, headers=self.headers, params=params)

    def post(self, path: str, sent: Any = None, **headers: str) -> Answer:
        """Send something."""
        given = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.simulate_post(path, json=sent, headers=given)

    def patch(self, path: str, sent: Any) -> Answer:
        """Change something."""
        return self.client.simulate_patch(path, json=sent, headers=self.headers)

    def delete(self, path: str) -> Answer:
        """End something."""
        return self.client.simulate_delete(path, headers=self.headers)

    def register(self, relay: Relay, **changed: Any) -> Answer:
        """Put a relay on record that runs already."""
        sent = {
            "networkAddress": relay.address,
            "publicKey": relay.jwk,
            "region": "eu-west-1",
        } | changed
        answer = self.post(RELAYS, sent)
        if answer.status_code == 201:
            relay.id = answer.json["relayId"]
        return answer

    def approve(self, relay: Relay) -> Answer:
        """Let a relay take part."""
        return self.patch(f"{RELAYS}/{relay.id}", {"state": "active"})

    def suspend(self, relay: Relay) -> Answer:
        """Keep a relay from taking part for a while."""
        return self.patch(f"{RELAYS}/{relay.id}", {"state": "suspended", "reason": "odd traffic"})

    def invite(self, relay: Relay) -> str:
        """Get a token for a relay to enrol with."""
        answer = self.post(f"{RELAYS}/{relay.id}/enrollment")
        assert answer.status_code == 201, answer.text
        return str(answer.json["token"])

    def actions(self) -> list[str]:
        """Return what the audit trail says was done, oldest first."""
        answer = self.get(AUDIT, limit=1000)
        assert answer.status_code == 200, answer.text
        return [entry["action"] for entry in answer.json["entries"]]


class Relay:
    """A relay, with its key.

    Args:
        client: sends its requests.
        address: where devices reach it.
    """

    def __init__(self, client: Client, address: str = ADDRESS) -> None:
        self.client = client
        self.address = address
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.jwk: dict[str, Any] = ECKey.import_key(
            self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ).as_dict(private=False)
        self.id = ""
        self.headers: dict[str, str] = {}

    def enroll(self, token: str, csr: str | None = None, relay_id: str | None = None) -> Answer:
        """Trade a token for certificates, and keep them."""
        answer = self.client.simulate_post(
            f"{RELAYS}/{relay_id or self.id}/enroll",
            json={"token": token, "csr": csr or self.csr()},
        )
        if answer.status_code == 201:
            self.headers = bearer(answer.json["certificate"])
        return answer

    def renew(self, csr: str | None = None) -> Answer:
        """Ask for new certificates, and keep them."""
        answer = self.client.simulate_post(
            f"{RELAYS}/{self.id}/certificate",
            json={"csr": csr or self.csr()},
            headers=self.headers,
        )
        if answer.status_code == 201:
            self.headers = bearer(answer.json["certificate"])
        return answer

    def csr(
        self,
        names: Iterable[str] | None = None,
        key: Any = None,
        *extensions: tuple[x509.ExtensionType, bool],
    ) -> str:
        """Return a signing request for these names, by default for its own."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.id or "relay")])
        )
        found = [_general(name) for name in ([self.address] if names is None else names)]
        if found:
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(key or self.key, SHA256()).public_bytes(Encoding.PEM).decode()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def age_tokens(services: Services, minutes: int) -> None:
    """Let every token be so many minutes older."""
    with services.database.transaction() as database:
        database.execute_sql(
            f"UPDATE enrollment_tokens SET expires_at = expires_at - {minutes * 60_000}"  # noqa: S608
        )


def repository(services: Services) -> RelayRepository:
    """Return the registry's rows."""
    return RelayRepository(services.database)
