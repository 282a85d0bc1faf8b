"""Settings that are wrong, alone or together, are all told at once and by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_provision_ec2 import EC2Provisioning, EC2Settings

from eventserver_core.errors import ConfigurationError
from eventserver_core.settings import Settings

Make = Callable[..., Settings]

FAULTS: list[tuple[dict[str, str], str]] = [
    ({"ec2__regions": ""}, "ec2.regions"),
    ({"ec2__regions": ","}, "ec2.regions"),
    ({"ec2__regions": "us-east-1.evil.example"}, "ec2.regions"),
    ({"ec2__regions": "us-east-1,us-east-1"}, "ec2.regions"),
    ({"ec2__regions": "us-east-1,eu-west-1"}, "ec2.image_ids: eu-west-1"),
    ({"ec2__instance_types": ""}, "ec2.instance_types"),
    ({"ec2__instance_types": "t3"}, "ec2.instance_types"),
    ({"ec2__instance_types": "t3.micro,t3.micro"}, "ec2.instance_types"),
    ({"ec2__image_ids": ""}, "ec2.image_ids: us-east-1"),
    ({"ec2__image_ids": "ami-1"}, "ec2.image_ids"),
    ({"ec2__image_ids": "us-east-1=ubuntu"}, "ec2.image_ids"),
    ({"ec2__image_ids": "us-east-1=ami-1,us-east-1=ami-2"}, "ec2.image_ids"),
    ({"ec2__image_ids": "us-east-1=ami-1,eu-west-1=ami-2"}, "ec2.image_ids: eu-west-1"),
    ({"ec2__launch_template": "a template"}, "ec2.launch_template"),
    ({"ec2__launch_template": "relay:newest"}, "ec2.launch_template"),
    ({"ec2__launch_template": "eu-west-1=relay"}, "ec2.launch_template: eu-west-1"),
    (
        {"ec2__launch_template": "lt-1", "ec2__regions": "us-east-1,eu-west-1"},
        "ec2.launch_template: an id belongs to one region",
    ),
    ({"ec2__subnet_ids": "subnet-1"}, "ec2.subnet_ids"),
    ({"ec2__subnet_ids": "us-east-1=subnet-1,us-east-1=subnet-2"}, "ec2.subnet_ids"),
    ({"ec2__subnet_ids": "eu-west-1=subnet-1"}, "ec2.subnet_ids: eu-west-1"),
    ({"ec2__security_group_ids": "us-east-1=default"}, "ec2.security_group_ids"),
    ({"ec2__security_group_ids": "us-east-1=sg-1,us-east-1=sg-1"}, "ec2.security_group_ids"),
    ({"ec2__security_group_ids": "eu-west-1=sg-1"}, "ec2.security_group_ids: eu-west-1"),
    ({"ec2__address": "elastic"}, "ec2.address"),
    ({"ec2__relay_port": "0"}, "ec2.relay_port"),
    ({"ec2__relay_port": "65536"}, "ec2.relay_port"),
    ({"ec2__max_instances": "0"}, "ec2.max_instances"),
    ({"ec2__deployment": "our own"}, "ec2.deployment"),
    ({"ec2__deployment": "x" * 64}, "ec2.deployment"),
    ({"ec2__instance_profile": "a profile"}, "ec2.instance_profile"),
    ({"ec2__instance_profile": "arn:aws:iam::1:role/relay"}, "ec2.instance_profile"),
    ({"ec2__endpoint": "127.0.0.1:5000"}, "ec2.endpoint"),
    ({"ec2__endpoint": "ftp://ec2.example"}, "ec2.endpoint"),
    ({"ec2__endpoint": "https://"}, "ec2.endpoint"),
    ({"ec2__endpoint": "https://ec2.example/path"}, "ec2.endpoint"),
    ({"ec2__endpoint": "https://ec2.example?x"}, "ec2.endpoint"),
    ({"ec2__endpoint": "https://key:secret@ec2.example"}, "ec2.endpoint"),
    ({"ec2__endpoint": "https://ec2.example:99999"}, "ec2.endpoint"),
    ({"ec2__endpoint": "http://ec2.example"}, "ec2.endpoint: .*https://"),
    ({"ec2__connect_timeout": "0"}, "ec2.connect_timeout"),
    ({"ec2__read_timeout": "-1"}, "ec2.read_timeout"),
    ({"ec2__read_timeout": "12"}, "ec2.read_timeout"),
    ({"plugins__time_limit": "5"}, "ec2.read_timeout"),
]


@pytest.mark.parametrize(("keys", "named"), FAULTS, ids=[str(keys) for keys, _ in FAULTS])
def test_a_wrong_setting_is_named(make_settings: Make, keys: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\A{named}") as caught:
        EC2Provisioning.from_settings(make_settings(**keys))
    assert len(caught.value.faults) == 1


def test_all_that_is_wrong_is_told_together(make_settings: Make) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EC2Provisioning.from_settings(
            make_settings(
                ec2__regions="us-east-1,eu-west-1",
                ec2__subnet_ids="eu-north-1=subnet-1",
                ec2__endpoint="http://ec2.example",
                ec2__read_timeout="60",
            )
        )
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "ec2.subnet_ids",
        "ec2.image_ids",
        "ec2.endpoint",
        "ec2.read_timeout",
    ]


@pytest.mark.parametrize(
    "endpoint", ["https://ec2.example", "https://ec2.example:8443/", "http://localhost:5000"]
)
def test_a_good_endpoint_is_taken(make_settings: Make, endpoint: str) -> None:
    EC2Provisioning.from_settings(make_settings(ec2__endpoint=endpoint))


@pytest.mark.parametrize(
    ("text", "templates"),
    [
        ("relay", {"": "relay"}),
        ("relay:3", {"": "relay:3"}),
        ("lt-0abc:$Latest", {"": "lt-0abc:$Latest"}),
        ("us-east-1=relay", {"us-east-1": "relay"}),
        ("us-east-1 = lt-0abc:7", {"us-east-1": "lt-0abc:7"}),
    ],
)
def test_a_template_is_for_all_regions_or_for_each(
    make_settings: Make, text: str, templates: dict[str, str]
) -> None:
    assert make_settings(ec2__launch_template=text)[EC2Settings].launch_template == templates


def test_a_region_has_as_many_groups_as_are_listed(make_settings: Make) -> None:
    settings = make_settings(
        ec2__security_group_ids="us-east-1=sg-1, eu-west-1=sg-2, us-east-1=sg-3"
    )
    groups = settings[EC2Settings].security_group_ids
    assert groups == {"us-east-1": ["sg-1", "sg-3"], "eu-west-1": ["sg-2"]}


def test_a_profile_that_is_not_there_is_a_wrong_setting(
    make_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
        EC2Provisioning.from_settings(make_settings())


def test_a_broken_file_of_the_aws_tools_is_a_wrong_setting(
    make_settings: Make, tmp_path: Path
) -> None:
    (tmp_path / "aws-config").write_text("[[[")
    with pytest.raises(ConfigurationError, match=r"~/\.aws"):
        EC2Provisioning.from_settings(make_settings())


def test_a_profile_of_the_aws_tools_gives_keys(
    make_provisioning: Callable[..., EC2Provisioning],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = "[relays]\naws_access_key_id = a\naws_secret_access_key = b\n"
    (tmp_path / "aws-credentials").write_text(keys)
    monkeypatch.setenv("AWS_PROFILE", "relays")
    make_provisioning().check()


def test_every_setting_is_documented() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    options: list[Any] = EC2Settings.options()
    for option in options:
        default = f"`{option.default}`" if option.default else ""
        assert f"| `{option.key}` | {default}".rstrip() in readme
