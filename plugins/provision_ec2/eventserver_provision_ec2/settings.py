"""The section ``ec2``."""

from __future__ import annotations

import re
from collections.abc import Callable

from eventserver_core.settings import (
    SECONDS,
    Section,
    one_of,
    option,
    parse_list,
    parse_seconds,
    up_to,
)

PUBLIC = "public"
PRIVATE = "private"

HTTPS_PORT = 443
MAX_MACHINES = 10_000

REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}\Z")
_TYPE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\Z")
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_TEMPLATE = re.compile(r"[A-Za-z0-9()./_-]{3,128}(:([0-9]{1,9}|\$Latest|\$Default))?\Z")
_PROFILE = re.compile(
    r"(arn:[a-z0-9-]+:iam::[0-9]{12}:instance-profile/[\w+=,.@/-]+|[\w+=,.@-]+)?\Z"
)


def _words(pattern: re.Pattern[str], what: str) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = parse_list(text)
        if not words:
            raise ValueError("none is there")
        for word in words:
            if not pattern.match(word):
                raise ValueError(f"{word!r} is no {what}")
        if len(set(words)) < len(words):
            raise ValueError("one is there twice")
        return words

    return parse


def _pairs(pattern: re.Pattern[str], what: str) -> Callable[[str], list[tuple[str, str]]]:
    def parse(text: str) -> list[tuple[str, str]]:
        pairs = []
        for item in parse_list(text):
            region, separator, value = (part.strip() for part in item.partition("="))
            if not separator or not REGION.match(region) or not pattern.match(value):
                raise ValueError(f"{item!r} is not {what}")
            pairs.append((region, value))
        if len(set(pairs)) < len(pairs):
            raise ValueError("one is there twice")
        return pairs

    return parse


def _by_region(pattern: re.Pattern[str], what: str) -> Callable[[str], dict[str, str]]:
    pairs_of = _pairs(pattern, what)

    def parse(text: str) -> dict[str, str]:
        pairs = pairs_of(text)
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a region is there twice")
        return dict(pairs)

    return parse


def _lists_by_region(pattern: re.Pattern[str], what: str) -> Callable[[str], dict[str, list[str]]]:
    pairs_of = _pairs(pattern, what)

    def parse(text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for region, value in pairs_of(text):
            found.setdefault(region, []).append(value)
        return found

    return parse


def _templates(text: str) -> dict[str, str]:
    """Read templates by region; one for all regions has the key ``""``."""
    if "=" in text:
        return _by_region(_TEMPLATE, "REGION=TEMPLATE")(text)
    if text and not _TEMPLATE.match(text):
        raise ValueError(f"{text!r} is no template")
    return {"": text} if text else {}


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.match(text):
            raise ValueError("it is written otherwise")
        return text

    return parse


class EC2Settings(Section, name="ec2"):
    """Which machines may be launched, and how."""

    regions: list[str] = option(
        None,
        parser=_words(REGION, "region"),
        expected="a list of regions",
        doc="The regions in which machines may be launched.",
    )
    instance_types: list[str] = option(
        None,
        parser=_words(_TYPE, "instance type"),
        expected="a list of instance types",
        doc="The types of machines that may be launched.",
    )
    image_ids: dict[str, str] = option(
        "",
        parser=_by_region(re.compile(r"ami-[0-9a-f]+\Z"), "REGION=ami-…"),
        expected="a list of REGION=ami-…, each region once",
        doc="The image that machines start from, in each region.",
    )
    launch_template: dict[str, str] = option(
        "",
        parser=_templates,
        expected="NAME, NAME:VERSION or the same with an id, or a list of REGION= and these",
        doc="The launch template that machines are made by; one for all regions, or one for each.",
    )
    subnet_ids: dict[str, str] = option(
        "",
        parser=_by_region(re.compile(r"subnet-[0-9a-f]+\Z"), "REGION=subnet-…"),
        expected="a list of REGION=subnet-…, each region once",
        doc="The subnet that machines are in, in each region; unset is EC2's choice.",
    )
    security_group_ids: dict[str, list[str]] = option(
        "",
        parser=_lists_by_region(re.compile(r"sg-[0-9a-f]+\Z"), "REGION=sg-…"),
        expected="a list of REGION=sg-…, a region once for each of its groups",
        doc="The security groups that machines are in, in each region; unset is EC2's choice.",
    )
    address: str = option(
        PUBLIC,
        parser=one_of(PUBLIC, PRIVATE),
        expected="public or private",
        doc="Which of a machine's addresses its relay is reached at.",
    )
    relay_port: int = option(
        str(HTTPS_PORT),
        parser=up_to(65535),
        expected="a port from 1 to 65535",
        doc="The port that relays listen on.",
    )
    max_instances: int = option(
        "20",
        parser=up_to(MAX_MACHINES),
        expected=f"a whole number from 1 to {MAX_MACHINES}",
        doc="How many machines there may be at once, in all regions together.",
    )
    deployment: str = option(
        None,
        parser=_matching(_DEPLOYMENT),
        expected="at most 63 letters, digits, dots, hyphens and underscores",
        doc="This EventServer's name in the machines' tags. Each that shares an account needs one "
        "of its own: two of the same name end each other's machines.",
    )
    key_name: str = option("", doc="The key pair that logs in to machines; unset is none.")
    instance_profile: str = option(
        "",
        parser=_matching(_PROFILE),
        expected="an instance profile's name or ARN",
        doc="The instance profile that gives machines a role; unset is none.",
    )
    start_command: str = option(
        "systemctl enable --now eventserver-relay",
        doc="What a machine runs, as root in a shell, once it has its enrolment file.",
    )
    endpoint: str = option(
        "",
        expected="https://host:port",
        address=True,
        doc="Where EC2 is, for clouds that speak it; empty is Amazon's own in each region.",
    )
    connect_timeout: float = option(
        "2", parser=parse_seconds, expected=SECONDS, doc="How long a connection may take to open."
    )
    read_timeout: float = option(
        "8", parser=parse_seconds, expected=SECONDS, doc="How long EC2 may be silent."
    )
