"""The whole life of the network, on real parts: from the first admin to a machine that is gone."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from eventserver_client import AdminClient, RefusedError, RelayClient, RetryPolicy
from eventserver_client.keys import load_key, make_csr, make_key, public_jwk

from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.parts import Moto
from tests.end_to_end.real_system import RealSystem
from tests.end_to_end.relay_process import RelayProcess, solved
from tests.end_to_end.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.xdist_group("heavy")]

ONCE = RetryPolicy(deadline=30, most_tries=1)
REVOKED_WITHIN = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Network:
    """Two instances and a worker over real parts, with machines from an EC2 in memory."""

    def __init__(self, directory: Path, moto: Moto) -> None:
        self.directory = directory
        self.moto = moto
        self.open = ExitStack()
        self.system = RealSystem(
            directory,
            plugins__provisioning="ec2",
            ec2__deployment=directory.name,
            ec2__regions="us-east-1",
            ec2__instance_types="t3.micro",
            ec2__image_ids=f"us-east-1={moto.image_id}",
            ec2__subnet_ids=f"us-east-1={moto.make_loopback_subnet()}",
            ec2__address="private",
            ec2__relay_port=free_port(),
            ec2__endpoint=moto.url,
            relays__allowed_networks="127.0.0.0/8",
            relays__follow_interval=0.2,
            security__admin_certificate_validity_hours=24,
        )
        # the bucket's keys are in these variables, and Moto takes any
        assert self.system.environ["AWS_ACCESS_KEY_ID"]

    def start(self) -> None:
        self.system.start_instance()
        # machines are told where to enrol
        self.system.environ["EVENTSERVER__SERVER__PUBLIC_URL"] = self.url
        self.system.start_instance()
        self.system.start_worker()

    @property
    def url(self) -> str:
        return self.system.instances[0].url

    def client(self, certificate: str | None = None, instance: int = 0) -> AdminClient:
        made = AdminClient(self.system.instances[instance].url, certificate, retry=ONCE)
        return self.open.enter_context(made)

    def relay_client(self, certificate: str | None = None) -> RelayClient:
        return self.open.enter_context(RelayClient(self.url, certificate, retry=ONCE))

    def enrollment_of(self, machine_id: str) -> dict[str, Any]:
        """Return the document that a machine finds when it starts."""
        config = yaml.safe_load(self.moto.user_data(machine_id))
        content = base64.b64decode(config["write_files"][0]["content"])
        return json.loads(content)  # type: ignore[no-any-return]

    def states_of(self, machine_id: str) -> str:
        instance_id = machine_id.partition("/")[2]
        found = self.moto.call("DescribeInstances", **{"InstanceId.1": instance_id})
        return found["name"]  # of its state


@pytest.fixture
def network(tmp_path: Path, moto: Moto) -> Iterator[Network]:
    made = Network(tmp_path, moto)
    with made.system, made.open:
        made.start()
        yield made


def refusal(call: Any, *arguments: Any) -> tuple[int, str]:
    """Return with what a call is refused."""
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    return caught.value.status, caught.value.code or ""


def submission(certificate: str, url: str) -> tuple[int, str]:
    """Return what a relay's certificate is answered with."""
    answer = httpx.post(
        f"{url}/api/v1/events",
        json=make_package(),
        headers={"Authorization": f"Bearer {certificate}"},
        timeout=30,
    )
    return answer.status_code, answer.json().get("code", "")


def wait_until_refused(certificate: str, url: str, refusal: tuple[int, str]) -> None:
    wait_until(lambda: submission(certificate, url) == refusal, refusal[1], seconds=REVOKED_WITHIN)


def test_the_whole_life_of_a_network(network: Network, tmp_path: Path) -> None:
    system = network.system

    # the first admin, and the authority
    alice_key, bob_key = make_key(), make_key()
    key_file = tmp_path / "alice.jwk"
    key_file.write_text(json.dumps(public_jwk(alice_key)))
    system.run("ca", "init")
    arguments = ["admin", "bootstrap", "--name", "alice", "--public-key", str(key_file), "--json"]
    bootstrapped = json.loads(system.run(*arguments))
    alice = network.client(bootstrapped["certificate"])

    # a second admin, who gets a certificate by its own key
    authorized = alice.authorize_admin("bob", public_jwk(bob_key), alice_key)
    certificate = network.client().obtain_certificate(authorized.admin_id, bob_key).certificate
    bob, bob_elsewhere = network.client(certificate), network.client(certificate, 1)
    assert {admin.name for admin in bob_elsewhere.admins()} == {"alice", "bob"}

    # a machine is launched, once for one key, and answers at once
    asked = bob.provision_relay("us-east-1", "t3.micro", "order-1")
    assert asked.state == "provisioning"
    again = bob_elsewhere.provision_relay("us-east-1", "t3.micro", "order-1")
    assert again.relay_id == asked.relay_id
    assert refusal(bob.provision_relay, "mars-north-1", "t3.micro") == (422, "machine_not_allowed")
    launched = wait_until(
        lambda: (found := bob.relay(asked.relay_id)).network_address and found, "a machine"
    )
    assert launched.machine_id
    assert network.states_of(launched.machine_id) == "running"

    # what runs on it enrols by its token, and takes part
    enrollment = network.enrollment_of(launched.machine_id)
    with RelayProcess(tmp_path / "relay", launched.network_address) as relay:
        relay.start(enrollment)
        active = bob.wait_until_active(asked.relay_id, 30)
        assert active.enrolled_at
        health = bob.relay_health(asked.relay_id)
        assert health.healthy
        assert [found.network_address for found in network.relay_client().relays()] == [
            launched.network_address
        ]
        csr = make_csr(make_key(), asked.relay_id, [launched.network_address.split(":")[0]])
        used = refusal(network.relay_client().enroll, asked.relay_id, enrollment["token"], csr)
        assert used == (409, "enrollment_token_used")

        # a device sends through it, and the event is anchored
        device = Device()
        device_certificate = solved(device, system.instances[1].url)
        receipt = relay.send(device.sign(make_package(), certificate=device_certificate))
        assert receipt.status_code == 201, receipt.text
        digest_hex = receipt.json()["hash"]
        proof = network.client().wait_for_proof(digest_hex, 60)
        assert proof["hash"] == digest_hex
        assert network.client().verify(digest_hex).exists
        rows = system.stored().rows("SELECT digest_hex, submitted_by, device FROM events")
        (row,) = [row for row in rows if row["digest_hex"] == digest_hex]
        assert row["submitted_by"] == asked.relay_id
        assert row["device"].startswith("device:")

        # suspended it is refused everywhere, and keeps what devices send
        bob.suspend(asked.relay_id, "odd traffic")
        for instance in system.instances:
            wait_until_refused(relay.bearer(), instance.url, (403, "relay_suspended"))

        def keeps() -> bool:
            package = device.sign(make_package(), certificate=device_certificate)
            return relay.send(package).status_code == 202

        wait_until(keeps, "the relay keeps what it is sent", seconds=REVOKED_WITHIN)
        events = bob.relay_stats()["events"]["total"]
        bob_elsewhere.approve(asked.relay_id)
        wait_until(
            lambda: bob.relay_stats()["events"]["total"] > events, "what it kept is forwarded"
        )

        # it renews; what was taken back is on the list, and its bearer is refused everywhere
        shown = x509.load_der_x509_certificate(relay.certificate())
        serial = bob.relay(asked.relay_id).tls_serial_number
        assert f"{shown.serial_number:x}" == str(serial).lstrip("0")
        stolen = network.relay_client(relay.bearer())
        thief = make_csr(make_key(), asked.relay_id, [launched.network_address.split(":")[0]])
        assert refusal(stolen.renew, asked.relay_id, thief) == (422, "public_key_mismatch")
        own_key = load_key(tmp_path / "relay" / "data" / "key.pem")
        own = make_csr(own_key, asked.relay_id, [launched.network_address.split(":")[0]])
        renewed = network.relay_client(relay.bearer()).renew(asked.relay_id, own)
        assert renewed.tls_serial_number != serial
        with network.relay_client(renewed.certificate) as by_the_new_one:
            assert by_the_new_one.submit(make_package()).digest_hex
        bob.revoke_certificate(str(serial))
        assert serials_on_the_list(network) == {shown.serial_number}
        claims = relay.bearer().split(".")[1]
        jti = json.loads(base64.urlsafe_b64decode(claims + "=="))["jti"]
        bob.revoke_certificate(jti)
        for instance in system.instances:
            wait_until_refused(relay.bearer(), instance.url, (401, "certificate_revoked"))
            assert submission(renewed.certificate, instance.url)[0] == 201

        # decommissioned, its machine is gone
        bob.decommission(asked.relay_id)
        for instance in system.instances:
            wait_until_refused(renewed.certificate, instance.url, (403, "relay_decommissioned"))
        wait_until(
            lambda: network.states_of(launched.machine_id or "") == "terminated",
            "the machine is gone",
        )
        wait_until(lambda: bob.relay(asked.relay_id).machine_id is None, "that is on record")
        assert len(serials_on_the_list(network)) == 2

    # an admin leaves, and with it all its certificates
    alice.withdraw_admin(authorized.admin_id)
    assert refusal(bob_elsewhere.admins) == (401, "certificate_revoked")

    # all of it is in the trail, which holds, and whose head is anchored
    actions = [entry["action"] for entry in alice.audit_entries()]
    for action in (
        "authority_made",
        "admin_bootstrapped",
        "admin_authorized",
        "admin_certificate_issued",
        "relay_requested",
        "relay_launched",
        "relay_enrolled",
        "relay_activated",
        "relay_suspended",
        "relay_approved",
        "tls_certificate_revoked",
        "certificate_revoked",
        "relay_decommissioned",
        "machine_ended",
        "admin_withdrawn",
    ):
        assert action in actions, action
    told = wait_until(lambda: checked(network, anchored=True), "the head is anchored", 60)
    assert told["valid"]
    network.client().wait_for_proof(told["anchoredEvent"], 60)

    # a changed entry is found
    with_change = "UPDATE audit_entries SET actor = 'somebody' WHERE sequence = 3"
    execute(network, with_change)
    told = checked(network)
    assert told is not None
    assert not told["valid"]
    assert "entry 3 was changed" in " ".join(told["faults"])


def serials_on_the_list(network: Network) -> set[int]:
    """Return the serial numbers on the revocation list, as any instance has it."""
    lists = [
        x509.load_der_x509_crl(httpx.get(f"{instance.url}/pki/issuing.crl").content)
        for instance in network.system.instances
    ]
    issuing = x509.load_der_x509_certificate(httpx.get(f"{network.url}/pki/issuing.crt").content)
    key = issuing.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert all(found.is_signature_valid(key) for found in lists)
    (serials,) = {frozenset(entry.serial_number for entry in found) for found in lists}
    return set(serials)


def checked(network: Network, *, anchored: bool = False) -> dict[str, Any] | None:
    """Return what ``eventserver audit check`` says; None while the head is not anchored."""
    done = subprocess.run(
        [sys.executable, "-m", "eventserver_core", "audit", "check", "--json"],
        cwd=network.directory,
        env=network.system.command_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if told["valid"] else 1), done.stderr
    return told if not anchored or told["anchoredUpTo"] == told["entries"] else None


def execute(network: Network, statement: str) -> None:
    """Change the database behind EventServer's back."""
    with psycopg.connect(network.system.postgresql.url) as connection:
        connection.execute(statement.encode())
