"""Answers that are lost, and machines that EC2 has and doesn't list yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eventserver_provision_ec2 import EC2Provisioning
from structlog.testing import capture_logs

from eventserver_core.backends.provisioning import Enrollment, LaunchRequest
from eventserver_core.errors import BackendUnavailableError

MakeRequest = Callable[..., LaunchRequest]
MakeEnrollment = Callable[..., Enrollment]


def test_a_new_machine_is_known_by_the_time_it_is_told_of(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest, impatient: None
) -> None:
    gateway.list_late(2)
    machine = behind_gateway.launch(make_request())
    asked = gateway.count("DescribeInstances")
    assert asked == 5  # for the key, for all machines, and three times for the new one
    assert behind_gateway.describe(machine.id) is not None


def test_a_machine_that_is_not_listed_for_long_is_told_of_all_the_same(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest, impatient: None
) -> None:
    gateway.list_late(99)
    with capture_logs() as lines:
        machine = behind_gateway.launch(make_request())
    assert machine.id.startswith("us-east-1/i-")
    assert [line["event"] for line in lines] == ["ec2_machine_launched", "ec2_machine_not_listed"]


def test_a_launch_is_told_of_where_nothing_can_be_listed_afterwards(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest, impatient: None
) -> None:
    def describe(_action: str, _parameters: dict[str, str], forward: Any) -> Any:
        return None if gateway.count("RunInstances") else forward()

    gateway.rules["DescribeInstances"] = describe
    with capture_logs() as lines:
        assert behind_gateway.launch(make_request()).id
    assert lines[-1]["event"] == "ec2_machine_not_listed"


def test_a_lost_answer_is_asked_for_again(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest
) -> None:
    gateway.heed_client_tokens(lost_answers=1)
    machine = behind_gateway.launch(make_request())
    assert gateway.count("RunInstances") == 2
    assert [listed.id for _, listed in behind_gateway.launched()] == [machine.id]


def test_after_a_lost_answer_another_enrolment_finds_the_machine(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
) -> None:
    gateway.heed_client_tokens(lost_answers=2)
    first = make_request("a-key", make_enrollment("first"))
    with pytest.raises(BackendUnavailableError):
        behind_gateway.launch(first)
    ((_, lost),) = behind_gateway.launched()
    again = behind_gateway.launch(make_request("a-key", make_enrollment("second")))
    assert again.id == lost.id
    assert gateway.count("RunInstances") == 2


def test_after_a_lost_answer_a_machine_that_is_not_listed_yet_is_waited_for(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
    impatient: None,
) -> None:
    gateway.heed_client_tokens(lost_answers=2)
    with pytest.raises(BackendUnavailableError):
        behind_gateway.launch(make_request("a-key", make_enrollment("first")))
    gateway.list_late(4)
    again = behind_gateway.launch(make_request("a-key", make_enrollment("second")))
    assert gateway.count("RunInstances") == 3
    assert [(key, machine.id) for key, machine in behind_gateway.launched()] == [
        ("a-key", again.id)
    ]


def test_a_machine_that_is_never_listed_is_not_launched_twice(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
    impatient: None,
) -> None:
    gateway.heed_client_tokens(lost_answers=2)
    with pytest.raises(BackendUnavailableError):
        behind_gateway.launch(make_request("a-key", make_enrollment("first")))
    gateway.list_late(99)
    with pytest.raises(BackendUnavailableError, match="doesn't list it"):
        behind_gateway.launch(make_request("a-key", make_enrollment("second")))
    del gateway.rules["DescribeInstances"]
    assert len(behind_gateway.launched()) == 1
