"""The EC2 that these tests, and others', are run on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from eventserver_core.testing.parts import Moto, PartError

pytestmark = pytest.mark.real


def test_it_is_ready_when_it_answers_and_forgets_when_it_is_told_to(tmp_path: Path) -> None:
    with Moto(tmp_path / "moto") as moto:
        subnet = moto.make_loopback_subnet()
        launch = {"ImageId": moto.image_id, "MinCount": "1", "MaxCount": "1", "SubnetId": subnet}
        instance_id = moto.call("RunInstances", **launch, UserData="aGVsbG8=")["instanceId"]
        assert moto.user_data(f"{moto.region}/{instance_id}") == "hello"
        assert moto.user_data(moto.call("RunInstances", **launch)["instanceId"]) == ""
        assert moto.private_address(instance_id) == "127.0.0.4"
        moto.reset()
        with pytest.raises(PartError, match="InvalidInstanceID"):
            moto.user_data(instance_id)
    assert not moto.is_ready()


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PartError, match="pip install moto flask flask-cors"):
        Moto(tmp_path / "moto").start()
