"""What goes wrong at EC2, and what is said of it."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eventserver_provision_ec2 import EC2Provisioning
from structlog.testing import capture_logs

from eventserver_core.backends.provisioning import Enrollment, LaunchRequest
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import free_port

Make = Callable[..., EC2Provisioning]
MakeRequest = Callable[..., LaunchRequest]

LAUNCH_FAULTS = [
    ("InsufficientInstanceCapacity", "no room"),
    ("InsufficientFreeAddressesInSubnet", r"ec2\.subnet_ids"),
    ("VcpuLimitExceeded", "raise its limit"),
    ("InstanceLimitExceeded", "raise its limit"),
    ("UnauthorizedOperation", r"allow ec2:RunInstances and ec2:CreateTags .*iam:PassRole"),
    ("InvalidAMIID.NotFound", r"ec2\.image_ids"),
    ("InvalidSubnetID.NotFound", r"ec2\.subnet_ids"),
    ("InvalidGroup.NotFound", r"ec2\.security_group_ids"),
    ("InvalidLaunchTemplateName.NotFoundException", r"ec2\.launch_template"),
    ("InvalidKeyPair.NotFound", r"ec2\.key_name"),
    ("Unsupported", r"ec2\.instance_types"),
    ("InvalidParameterValue", r"InvalidParameterValue: as asked for\); check the section ec2"),
]
EVERYWHERE = [
    ("AuthFailure", "AWS_ACCESS_KEY_ID"),
    ("ExpiredToken", "session token has expired"),
    ("RequestExpired", "clock"),
    ("OptInRequired", "not enabled this region"),
    ("UnauthorizedOperation", r"allow ec2:DescribeInstances\Z"),
]


@pytest.mark.parametrize(("code", "said"), LAUNCH_FAULTS)
def test_a_refused_launch_says_what_to_do(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest, code: str, said: str
) -> None:
    gateway.refuse("RunInstances", code)
    with pytest.raises(BackendUnavailableError, match=said) as caught:
        behind_gateway.launch(make_request())
    assert "us-east-1" in str(caught.value)
    assert gateway.count("RunInstances") == 1


@pytest.mark.parametrize(("code", "said"), EVERYWHERE)
def test_a_refusal_says_what_to_do_whatever_was_asked(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest, code: str, said: str
) -> None:
    machine = behind_gateway.launch(make_request())
    gateway.refuse("DescribeInstances", code)
    for call in calls_of(behind_gateway, make_request(), machine.id):
        with pytest.raises(BackendUnavailableError, match=said):
            call()


def test_a_refused_end_names_the_permission(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest
) -> None:
    machine = behind_gateway.launch(make_request())
    gateway.refuse("TerminateInstances", "UnauthorizedOperation", status=403)
    with pytest.raises(BackendUnavailableError, match=r"allow ec2:TerminateInstances\Z"):
        behind_gateway.terminate(machine.id)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, None, "overloaded or out of order"),
        (500, b"", "overloaded or out of order"),
        (502, b"<html>Bad gateway</html>", "overloaded or out of order"),
        (200, b"<html>Hello", "not one of EC2's"),
        (200, b"hello", "not one of EC2's"),
        (404, b"<html><p>Not found</p></html>", r"check .*ec2"),
    ],
)
def test_an_answer_that_is_none_is_reported(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    status: int,
    body: bytes | None,
    said: str,
) -> None:
    if body is None:
        gateway.refuse("DescribeInstances", "RequestLimitExceeded", status=status)
    else:
        gateway.rules["DescribeInstances"] = lambda *_: (status, body)
    for call in calls_of(behind_gateway, make_request(), "us-east-1/i-0123456789abcdef0"):
        with pytest.raises(BackendUnavailableError, match=said):
            call()


def test_what_ec2_has_no_time_for_is_sent_once_more(
    behind_gateway: EC2Provisioning, gateway: Any
) -> None:
    gateway.refuse("DescribeInstances", "RequestLimitExceeded", status=503)
    with pytest.raises(BackendUnavailableError):
        behind_gateway.launched()
    assert gateway.count("DescribeInstances") == 2


@pytest.mark.usefixtures("once")
def test_an_ec2_that_cannot_be_reached_is_reported(
    make_provisioning: Make, make_request: MakeRequest
) -> None:
    provisioning = make_provisioning(ec2__endpoint=f"http://127.0.0.1:{free_port()}")
    for call in calls_of(provisioning, make_request(), "us-east-1/i-0123456789abcdef0"):
        with pytest.raises(BackendUnavailableError, match="does not answer"):
            call()


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of somebody who takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_ec2_holds_nobody_up(
    make_provisioning: Make, make_request: MakeRequest, silent: str
) -> None:
    provisioning = make_provisioning(
        ec2__endpoint=silent,
        ec2__read_timeout="0.3",
        ec2__regions="us-east-1,eu-west-1,eu-north-1",
        ec2__image_ids="us-east-1=ami-1,eu-west-1=ami-1,eu-north-1=ami-1",
    )
    for call in calls_of(provisioning, make_request(), "us-east-1/i-0123456789abcdef0"):
        began = time.monotonic()
        with pytest.raises(BackendUnavailableError, match="does not answer"):
            call()
        assert time.monotonic() - began < 10  # a check takes 1.2 s, all else 0.6 s and a pause


def test_nothing_is_begun_when_there_is_no_time_left(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = [0.0]
    clock = SimpleNamespace(monotonic=lambda: seconds[0])
    monkeypatch.setattr("eventserver_provision_ec2.clients.time", clock)

    def describe(_action: str, _parameters: dict[str, str], forward: Any) -> Any:
        seconds[0] += 9
        return forward()

    gateway.rules["DescribeInstances"] = describe
    with pytest.raises(BackendUnavailableError, match="too slow"):
        behind_gateway.launch(make_request())
    assert [action for action, _ in gateway.asked] == ["DescribeInstances"] * 2


def test_one_launch_waits_for_another_only_so_long(
    make_provisioning: Make, gateway: Any, make_request: MakeRequest
) -> None:
    patient = make_provisioning(ec2__endpoint=gateway.url)
    hurried = make_provisioning(
        ec2__connect_timeout="0.05", ec2__read_timeout="0.05", plugins__time_limit="0.3"
    )
    within, go_on = threading.Event(), threading.Event()

    def run(_action: str, _parameters: dict[str, str], forward: Any) -> Any:
        within.set()
        go_on.wait(60)
        return forward()

    gateway.rules["RunInstances"] = run
    with ThreadPoolExecutor(1) as pool:
        launch = pool.submit(patient.launch, make_request())
        try:
            assert within.wait(60)
            with pytest.raises(BackendUnavailableError, match="other launches take long"):
                hurried.launch(make_request())
        finally:
            go_on.set()
            launched = launch.result()
        assert [machine.id for _, machine in patient.launched()] == [launched.id]


def test_a_certificate_that_does_not_hold_is_told(make_provisioning: Make, gateway: Any) -> None:
    # what speaks no TLS has no certificate either
    provisioning = make_provisioning(ec2__endpoint=gateway.url.replace("http:", "https:"))
    with pytest.raises(BackendUnavailableError, match="AWS_CA_BUNDLE"):
        provisioning.check()


def test_a_file_of_certificates_that_is_not_there_is_told(
    make_provisioning: Make, gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such")
    provisioning = make_provisioning(ec2__endpoint=gateway.url.replace("http:", "https:"))
    with pytest.raises(BackendUnavailableError, match="AWS_CA_BUNDLE"):
        provisioning.check()


def test_a_role_that_cannot_be_had_is_told(
    make_provisioning: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    source = "credential_source = Ec2InstanceMetadata"
    role = "role_arn = arn:aws:iam::123456789012:role/relays"
    (tmp_path / "aws-config").write_text(f"[default]\n{role}\n{source}\n")
    with pytest.raises(BackendUnavailableError, match="no credentials"):
        make_provisioning().check()


def test_what_the_aws_tools_cannot_make_sense_of_is_told(
    make_provisioning: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    source = "source_profile = nobody"
    role = "role_arn = arn:aws:iam::123456789012:role/relays"
    (tmp_path / "aws-config").write_text(f"[default]\n{role}\n{source}\n")
    with pytest.raises(BackendUnavailableError, match=r"\(InvalidConfigError\); check .*~/\.aws"):
        make_provisioning().check()


def test_without_keys_it_is_said_where_they_belong(
    make_provisioning: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BackendUnavailableError, match=r"no credentials .*AWS_ACCESS_KEY_ID"):
        make_provisioning().check()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BackendUnavailableError, match=r"no credentials .*AWS_ACCESS_KEY_ID"):
        make_provisioning().check()


def test_one_region_that_is_down_is_enough_to_complain(
    make_provisioning: Make, gateway: Any
) -> None:
    provisioning = make_provisioning(
        ec2__endpoint=gateway.url,
        ec2__regions="us-east-1,eu-west-1",
        ec2__image_ids="us-east-1=ami-1,eu-west-1=ami-1",
    )
    provisioning.check()
    assert gateway.count("DescribeInstances") == 2
    answered = []

    def describe(_action: str, _parameters: dict[str, str], forward: Any) -> Any:
        answered.append(forward())
        return answered[-1] if len(answered) == 1 else None

    gateway.rules["DescribeInstances"] = describe
    with pytest.raises(BackendUnavailableError, match=r"\((us-east-1|eu-west-1)\)"):
        provisioning.check()


def test_nothing_secret_is_said_however_things_fail(
    make_provisioning: Make,
    gateway: Any,
    make_request: MakeRequest,
    make_enrollment: Callable[..., Enrollment],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    canaries = ("canary-secret-key", "canary-session-token", "canary-enrolment-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canaries[0])
    monkeypatch.setenv("AWS_SESSION_TOKEN", canaries[1])
    caplog.set_level("INFO")
    provisioning = make_provisioning(ec2__endpoint=gateway.url)
    request = make_request(None, make_enrollment(canaries[2]))
    said: list[str] = [repr(provisioning), repr(vars(provisioning)), repr(request)]
    with capture_logs() as lines:
        machine = provisioning.launch(request)
        gateway.refuse("RunInstances", "InvalidParameterValue")
        gateway.refuse("DescribeInstances", "AuthFailure")
        for call in calls_of(provisioning, request, machine.id):
            with pytest.raises(BackendUnavailableError) as caught:
                call()
            said += traceback.format_exception(caught.value)
    said += [repr(line) for line in lines]
    said += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert any("ec2_machine_launched" in line for line in said)
    for canary in canaries:
        assert not [line for line in said if canary in line]


def calls_of(
    provisioning: EC2Provisioning, request: LaunchRequest, machine_id: str
) -> list[Callable[[], object]]:
    """Return everything that may be asked of a backend."""
    return [
        lambda: provisioning.launch(request),
        lambda: provisioning.describe(machine_id),
        lambda: provisioning.terminate(machine_id),
        provisioning.launched,
        provisioning.check,
    ]
