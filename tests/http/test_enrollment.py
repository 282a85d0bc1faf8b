"""How relays get their certificates: by a token, once, and by the ones that they have."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import falcon.testing
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from eventserver_core.errors import RevokedCertificateError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import assert_problem, base64url, bearer, claims_of, pointers, post_event, thumbprint
from .network import RELAYS, Admin, Relay, age_tokens

WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that it is refused is the point
pytestmark = pytest.mark.usefixtures("authority")


def colons(serial: str) -> str:
    """Write a serial number as `openssl x509 -text` prints it."""
    return ":".join(serial[i : i + 2] for i in range(0, len(serial), 2)).upper()


@pytest.fixture
def relay(alice: Admin, client: falcon.testing.TestClient) -> Relay:
    """A relay that is approved and has not enrolled."""
    relay = Relay(client)
    assert alice.register(relay, names=["relay.example.org"]).status_code == 201
    assert alice.approve(relay).status_code == 200
    return relay


@pytest.fixture
def token(alice: Admin, relay: Relay) -> str:
    return alice.invite(relay)


def test_an_invitation_has_all_that_a_relay_needs(alice: Admin, relay: Relay) -> None:
    answer = alice.post(f"{RELAYS}/{relay.id}/enrollment")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json) == {"serverUrl", "relayId", "token", "expiresAt", "rootCertificate"}
    root = x509.load_pem_x509_certificate(answer.json["rootCertificate"].encode())
    assert "Test" in root.subject.rfc4514_string()
    entries = alice.get("/api/v1/audit").json["entries"]
    assert answer.json["token"] not in str(entries)


def test_a_relay_enrols_and_takes_part(alice: Admin, relay: Relay, token: str) -> None:
    answer = relay.enroll(token)
    assert answer.status_code == 201
    claims = claims_of(answer.json["certificate"])
    assert (claims["sub"], claims["role"]) == (relay.id, "relay")
    assert thumbprint(claims["cnf"]["jwk"]) == thumbprint(relay.jwk)
    leaf, issuing = x509.load_pem_x509_certificates(answer.json["tlsCertificate"].encode())
    assert f"{leaf.serial_number:x}".lstrip("0") == answer.json["tlsSerialNumber"].lstrip("0")
    leaf.verify_directly_issued_by(issuing)
    assert post_event(relay.client, relay.headers, make_package()).status_code == 201
    found = alice.get(f"{RELAYS}/{relay.id}").json
    assert found["enrolledAt"]
    assert found["tlsSerialNumber"] == answer.json["tlsSerialNumber"]
    assert found["certificateExpiresAt"] == answer.json["certificateExpiresAt"]
    assert alice.actions()[-2:] == ["relay_invited", "relay_enrolled"]


def test_a_token_enrols_once(relay: Relay, token: str) -> None:
    assert relay.enroll(token).status_code == 201
    assert_problem(relay.enroll(token), 409, "enrollment_token_used")


def test_of_many_at_once_one_enrols(relay: Relay, token: str) -> None:
    csr = relay.csr()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: relay.enroll(token, csr), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


def test_a_token_ends(services: Services, relay: Relay, token: str) -> None:
    age_tokens(services, 15)
    assert_problem(relay.enroll(token), 401, "enrollment_token_expired")


def test_a_token_is_for_one_relay(alice: Admin, relay: Relay, token: str) -> None:
    other = Relay(relay.client, "198.51.101.8")
    alice.register(other)
    alice.approve(other)
    assert_problem(other.enroll(token), 403, "enrollment_token_mismatch")
    assert relay.enroll(token).status_code == 201


@pytest.mark.parametrize("guess", ["x", "x" * 43, "\u2603", "' OR 1=1 --"])
def test_a_guess_is_refused(relay: Relay, guess: str) -> None:
    assert_problem(relay.enroll(guess), 401, "enrollment_token_invalid")
    answer = relay.enroll(guess, relay_id="no-relay")
    assert_problem(answer, 401, "enrollment_token_invalid")


def test_guesses_are_counted_by_address(make_services: Callable[..., Services]) -> None:
    services = make_services(EVENTSERVER__SECURITY__RATE_LIMIT_CHALLENGES="5/60")
    relay = Relay(falcon.testing.TestClient(services.application()))
    statuses = [relay.enroll("x", "y", "no-relay").status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3


def test_another_token_makes_the_first_one_no_better(
    alice: Admin, relay: Relay, token: str
) -> None:
    second = alice.invite(relay)
    assert relay.enroll(token).status_code == 201
    assert_problem(relay.enroll(second), 409, "enrollment_token_used")


def test_who_waits_for_approval_does_not_enrol(
    alice: Admin, client: falcon.testing.TestClient
) -> None:
    other = Relay(client, "198.51.101.8")
    alice.register(other)
    answer = alice.post(f"{RELAYS}/{other.id}/enrollment")
    assert_problem(answer, 409, "relay_not_approved")


def test_a_relay_that_was_decommissioned_meanwhile_does_not_enrol(
    alice: Admin, relay: Relay, token: str
) -> None:
    alice.delete(f"{RELAYS}/{relay.id}")
    assert_problem(relay.enroll(token), 409, "enrollment_token_used")


def _ca() -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(ca=True, path_length=0), True


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda relay: relay.csr(["198.51.101.9"]), "csr_address_not_allowed"),
        (lambda relay: relay.csr(["evil.example.org"]), "csr_address_not_allowed"),
        (lambda relay: relay.csr(["*.example.org"]), "csr_address_not_allowed"),
        (lambda relay: relay.csr(None, None, _ca()), "csr_ca_not_allowed"),
        (lambda relay: relay.csr(None, WEAK), "csr_weak_key"),
        (
            lambda relay: relay.csr(None, rsa.generate_private_key(65537, 2048)),
            "csr_key_not_allowed",
        ),
        (
            lambda relay: relay.csr([f"n{i}.relay.example.org" for i in range(10_000)]),
            "csr_too_many_names",
        ),
        (lambda relay: "no request", "csr_invalid"),
        (lambda relay: relay.csr() + relay.csr(), "csr_invalid"),
        (
            lambda relay: relay.csr(None, ec.generate_private_key(ec.SECP256R1())),
            "public_key_mismatch",
        ),
    ],
    ids=[
        "another address",
        "another name",
        "a wildcard",
        "a certificate authority",
        "a weak key",
        "a key of another kind",
        "ten thousand names",
        "no request",
        "two requests",
        "another key than the registered one",
    ],
)
def test_a_request_for_what_a_relay_may_not_have_is_refused_and_the_token_stays(
    relay: Relay, token: str, make: Callable[[Relay], str], code: str
) -> None:
    answer = relay.enroll(token, make(relay))
    assert_problem(answer, 422, code)
    assert set(pointers(answer)) == {"/csr"}
    assert relay.enroll(token).status_code == 201


def test_a_body_over_the_limit_is_not_read(relay: Relay, token: str) -> None:
    assert_problem(relay.enroll(token, "x" * 2_000_000), 413, "content_too_large")


def test_a_relay_renews_its_own_certificates(alice: Admin, relay: Relay, token: str) -> None:
    first = relay.enroll(token).json
    answer = relay.renew()
    assert answer.status_code == 201
    assert answer.json["tlsSerialNumber"] != first["tlsSerialNumber"]
    assert answer.json["certificate"] != first["certificate"]
    for headers in (bearer(first["certificate"]), relay.headers):
        # the old one holds until its end, so that nothing under way is lost
        assert post_event(relay.client, headers, make_package()).status_code == 201
    assert alice.actions()[-1] == "relay_certificate_renewed"


def test_a_relay_renews_nobody_elses(alice: Admin, relay: Relay, token: str) -> None:
    relay.enroll(token)
    other = Relay(relay.client, "198.51.101.8")
    alice.register(other)
    alice.approve(other)
    other.headers = relay.headers
    assert_problem(other.renew(), 403, "forbidden")


def test_a_stolen_certificate_gets_nothing_for_another_key(relay: Relay, token: str) -> None:
    relay.enroll(token)
    thief = relay.csr(None, ec.generate_private_key(ec.SECP256R1()))
    assert_problem(relay.renew(thief), 422, "public_key_mismatch")


def test_an_admin_may_let_a_relay_have_a_new_key(alice: Admin, relay: Relay, token: str) -> None:
    relay.enroll(token)
    csr = relay.csr(None, ec.generate_private_key(ec.SECP256R1()))
    answer = alice.post(f"{RELAYS}/{relay.id}/certificate", {"csr": csr})
    assert answer.status_code == 201
    claims = claims_of(answer.json["certificate"])
    assert claims["sub"] == relay.id
    assert thumbprint(claims["cnf"]["jwk"]) != thumbprint(relay.jwk)
    assert_problem(relay.renew(), 422, "public_key_mismatch")


def test_a_suspended_relay_renews_nothing(alice: Admin, relay: Relay, token: str) -> None:
    relay.enroll(token)
    alice.suspend(relay)
    assert_problem(relay.renew(), 403, "relay_suspended")
    answer = alice.post(f"{RELAYS}/{relay.id}/certificate", {"csr": relay.csr()})
    assert_problem(answer, 409, "conflict")


def test_an_ed25519_key_will_do(alice: Admin, client: falcon.testing.TestClient) -> None:
    relay = Relay(client, "198.51.101.8")
    key = ed25519.Ed25519PrivateKey.generate()
    x = base64url(key.public_key().public_bytes_raw())
    relay.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
    alice.register(relay)
    alice.approve(relay)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("198.51.101.8"))]),
            critical=False,
        )
        .sign(key, None)
    )
    answer = relay.enroll(alice.invite(relay), csr.public_bytes(Encoding.PEM).decode())
    assert answer.status_code == 201


def revoked_serials(client: falcon.testing.TestClient) -> set[str]:
    """Return what is on the revocation list."""
    answer = client.simulate_get("/pki/issuing.crl")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pkix-crl"
    found = x509.load_der_x509_crl(answer.content)
    return {f"{entry.serial_number:x}" for entry in found}


def test_a_revoked_tls_certificate_is_on_the_list(alice: Admin, relay: Relay, token: str) -> None:
    serial = relay.enroll(token).json["tlsSerialNumber"]
    assert revoked_serials(relay.client) == set()
    assert alice.delete(f"/api/v1/certificates/{serial}").status_code == 204
    assert revoked_serials(relay.client) == {serial.lstrip("0")}
    assert post_event(relay.client, relay.headers, make_package()).status_code == 201
    assert alice.actions()[-1] == "tls_certificate_revoked"


def test_a_revoked_certificate_is_written_down_once(alice: Admin, relay: Relay, token: str) -> None:
    jti = claims_of(relay.enroll(token).json["certificate"])["jti"]
    for _ in range(2):
        assert alice.delete(f"/api/v1/certificates/{jti}").status_code == 204
    answer = post_event(relay.client, relay.headers, make_package())
    assert_problem(answer, 401, "certificate_revoked")
    assert alice.actions().count("certificate_revoked") == 1


def test_decommissioning_puts_every_tls_certificate_on_the_list(
    alice: Admin, relay: Relay, token: str
) -> None:
    serials = {relay.enroll(token).json["tlsSerialNumber"], relay.renew().json["tlsSerialNumber"]}
    alice.delete(f"{RELAYS}/{relay.id}")
    assert revoked_serials(relay.client) == {serial.lstrip("0") for serial in serials}


def test_the_authoritys_certificates_are_public(client: falcon.testing.TestClient) -> None:
    root, issuing = (
        x509.load_der_x509_certificate(client.simulate_get(f"/pki/{name}.crt").content)
        for name in ("root", "issuing")
    )
    issuing.verify_directly_issued_by(root)


def test_a_request_without_names_is_for_all_that_are_on_record(relay: Relay, token: str) -> None:
    answer = relay.enroll(token, relay.csr([]))
    assert answer.status_code == 201
    leaf, _ = x509.load_pem_x509_certificates(answer.json["tlsCertificate"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [relay.address]


@pytest.mark.parametrize("write", [str.upper, lambda serial: f"{int(serial, 16):x}", colons])
def test_a_serial_number_is_found_however_it_is_written(
    alice: Admin, relay: Relay, token: str, write: Callable[[str], str]
) -> None:
    serial = relay.enroll(token).json["tlsSerialNumber"]
    assert alice.delete(f"/api/v1/certificates/{write(serial)}").status_code == 204
    assert revoked_serials(relay.client) == {serial.lstrip("0")}


@pytest.mark.parametrize("serial", ["ab" * 20, "05:b0:fe", "AB:" * 19 + "AB"])
def test_a_serial_number_that_is_none_of_ours_is_told(alice: Admin, serial: str) -> None:
    assert_problem(alice.delete(f"/api/v1/certificates/{serial}"), 404, "not_found")
    assert "certificate_revoked" not in alice.actions()


def test_a_relay_that_renews_without_end_is_stopped(alice: Admin, relay: Relay, token: str) -> None:
    relay.enroll(token)
    answers = [relay.renew() for _ in range(21)]
    assert [answer.status_code for answer in answers] == [201] * 19 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600
    assert_problem(answers[-1], 429, "rate_limited")
    answer = alice.post(f"{RELAYS}/{relay.id}/certificate", {"csr": relay.csr()})
    assert answer.status_code == 201
    alice.delete(f"/api/v1/certificates/{answer.json['tlsSerialNumber']}")
    alice.delete(f"/api/v1/certificates/{answers[0].json['tlsSerialNumber']}")
    assert relay.renew().status_code == 201


def test_an_admin_who_was_withdrawn_meanwhile_changes_nothing(
    services: Services, alice: Admin, client: falcon.testing.TestClient
) -> None:
    bob = Admin(client, "bob")
    alice.authorize(bob)
    bob.obtain_certificate()
    token = bob.headers["Authorization"].split()[1]
    credentials = services.identities.authenticate(token)  # when the request began
    alice.delete(f"/api/v1/admins/{bob.id}")
    eve = Admin(client, "eve")
    with pytest.raises(RevokedCertificateError):
        services.network.admins.authorize("eve", eve.jwk, bob.authorization(eve), credentials)
    assert "eve" not in alice.get("/api/v1/admins").text
