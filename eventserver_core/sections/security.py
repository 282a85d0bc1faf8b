"""Who may do what, and how fast."""

from __future__ import annotations

from eventserver_core.settings import (
    BOOLEAN,
    COUNT,
    LIST,
    NATURAL,
    RATE,
    SECONDS,
    Rate,
    Section,
    option,
    parse_bool,
    parse_count,
    parse_list,
    parse_natural,
    parse_optional_rate,
    parse_seconds,
    up_to,
)


def _difficulty(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 16:
        raise ValueError("not from 1 to 16")
    return number


class SecuritySettings(Section, name="security"):
    """Who may do what, and how fast."""

    rate_limit_per_minute: int = option(
        "100",
        parser=parse_count,
        expected=COUNT,
        doc="How many calls one identity may make in any 60 seconds.",
    )
    rate_limit_events: Rate | None = option(
        "",
        parser=parse_optional_rate,
        expected=RATE,
        doc="A limit of its own for sending events, as CALLS/SECONDS; empty shares the plain one.",
    )
    rate_limit_reads: Rate | None = option(
        "", parser=parse_optional_rate, expected=RATE, doc="The same for records and evidence."
    )
    rate_limit_challenges: Rate | None = option(
        "",
        parser=parse_optional_rate,
        expected=RATE,
        doc="The same for proofs of work, counted by address.",
    )
    rate_limit_admin: Rate | None = option(
        "", parser=parse_optional_rate, expected=RATE, doc="The same for what only admins may do."
    )
    rate_limit_public: Rate | None = option(
        "1200/60",
        parser=parse_optional_rate,
        expected=RATE,
        doc="The same for verifying and for proofs, counted by address.",
    )
    rate_limit_unit_size: int = option(
        "10485760",
        parser=parse_count,
        expected="a number of bytes",
        doc="So many bytes of a request's body count as one more call.",
    )
    pow_difficulty: int = option(
        "4",
        parser=_difficulty,
        expected="a whole number from 1 to 16",
        doc="How many zero hex digits a proof of work must begin with.",
    )
    certificate_validity_hours: int = option(
        "24",
        parser=up_to(87600),
        expected="a whole number from 1 to 87600",
        doc="How long a device's certificate holds, in hours.",
    )
    admin_certificate_validity_hours: int = option(
        "2160",
        parser=up_to(87600),
        expected="a whole number from 1 to 87600",
        doc="How long an admin's certificate holds, in hours.",
    )
    enforce_labels: bool = option(
        "false",
        parser=parse_bool,
        expected=BOOLEAN,
        doc="Whether an event's annotations must be as the labels' definitions say.",
    )
    forwarded_max_age: float = option(
        "604800",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How old a device's signed package may be when a relay forwards it.",
    )
    event_max_age: int = option(
        "0",
        parser=parse_natural,
        expected=NATURAL,
        doc="How far back createdAt may lie, in seconds; 0 is any time.",
    )
    allowed_origins: list[str] = option(
        "",
        parser=parse_list,
        expected=LIST,
        doc="Web origins whose pages may call the API; * is any.",
    )
