"""How relays are let in, launched, looked after and certified."""

from __future__ import annotations

from eventserver_core.sections.server import Network, parse_networks
from eventserver_core.settings import (
    COUNT,
    SECONDS,
    Section,
    option,
    parse_count,
    parse_seconds,
    up_to,
)


class RelaySettings(Section, name="relays"):
    """How relays are let in, launched and looked after."""

    certificate_validity_hours: int = option(
        "168",
        parser=up_to(8784),
        expected="a whole number from 1 to 8784",
        doc="How long a relay's certificate holds, in hours; it renews it before.",
    )
    enrollment_minutes: int = option(
        "15",
        parser=up_to(1440),
        expected="a whole number from 1 to 1440",
        doc="How long a token to enrol with lives, in minutes.",
    )
    provisioning_timeout: float = option(
        "900",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a launched relay may take to enrol before it has failed and its machine is "
        "ended.",
    )
    max_provisioned: int = option(
        "20",
        parser=parse_count,
        expected=COUNT,
        doc="The most relays that are launched at a time.",
    )
    follow_interval: float = option(
        "5",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How often the worker looks at a relay that is being provisioned.",
    )
    sweep_after: float = option(
        "3600",
        parser=parse_seconds,
        expected=SECONDS,
        doc="A machine that no relay has claimed for so long is ended.",
    )
    health_timeout: float = option(
        "5",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long asking a relay for its health may take in all.",
    )
    allowed_networks: list[Network] = option(
        "",
        parser=parse_networks,
        expected="a list of addresses or networks",
        doc="Networks that relays may be in besides the public Internet, such as 10.0.0.0/8.",
    )


class CaSettings(Section, name="ca"):
    """The certificate authority that relays' TLS certificates come from."""

    directory: str = option(
        "", doc="Where its keys and certificates are; empty is ca in the data directory."
    )
    passphrase: str = option(
        "",
        secret=True,
        doc="What its keys are encrypted with. In development a missing one is made and kept.",
    )
    certificate_days: int = option(
        "30",
        parser=up_to(398),
        expected="a whole number from 1 to 398",
        doc="How long a relay's TLS certificate holds, in days; it renews it before.",
    )
    crl_hours: int = option(
        "24",
        parser=up_to(720),
        expected="a whole number from 1 to 720",
        doc="How long a revocation list may be kept by whoever fetched it, in hours.",
    )
