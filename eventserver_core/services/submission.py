"""Events on their way in, checked and hashed, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from eventserver_core.backends.auth import Credentials, Role, SignedPackage
from eventserver_core.db.event_rows import StoredEvent
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import MEDIA_PREFIX, SIGNED_PACKAGE_PREFIX, Signature
from eventserver_core.domain.package import ParsedPackage, Statement
from eventserver_core.services.media import Content
from eventserver_core.services.signed_packages import MAX_SIZE_IN_PACK


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """A package as its device signed it.

    Attributes:
        jws: the compact JWS, byte for byte.
        signed: what it says, checked.
    """

    jws: bytes
    signed: SignedPackage

    @property
    def fits_in_pack(self) -> bool:
        """Whether it can be kept in the event's envelope."""
        return len(self.jws) <= MAX_SIZE_IN_PACK

    @property
    def object_key(self) -> str:
        """Where it is kept as an object of its own."""
        return SIGNED_PACKAGE_PREFIX + sha256_hex(self.jws)

    def evidence(self, *, in_pack: bool) -> Signature:
        """Return what an envelope says of it."""
        device = self.signed.device
        public_key = device.public_key or {}
        if in_pack:
            return Signature(device.subject, public_key, jws=self.jws)
        return Signature(device.subject, public_key, object_key=self.object_key)


@dataclass(slots=True)
class Submission:
    """An event that is valid in itself, and not stored by whoever holds this.

    Attributes:
        received_at: when; the first one's is the event's for good.
        content: its media, if it has any.
        signature: there if its device signed it.
        is_published: whether its media, and a signed package that is an object of its own, are in
            their places in storage already.
    """

    parsed: ParsedPackage
    statement: Statement
    submitter: Credentials
    received_at: datetime
    content: Content | None
    signature: SignedBytes | None
    is_published: bool = False

    @property
    def event_id(self) -> str:
        """The id in lower case."""
        return self.parsed.event_id

    @property
    def digest_hex(self) -> str:
        """The event hash."""
        return self.statement.digest_hex

    @property
    def media_key(self) -> str | None:
        """Where its media is kept."""
        return MEDIA_PREFIX + self.content.digest_hex if self.content else None

    @property
    def is_large(self) -> bool:
        """Whether more belongs to it than a pack takes."""
        has_long_signature = self.signature is not None and not self.signature.fits_in_pack
        return self.content is not None or has_long_signature

    @property
    def device(self) -> str | None:
        """Which device made it, as far as that is known."""
        if self.signature is not None:
            return self.signature.signed.device.subject
        return self.submitter.subject if self.submitter.role is Role.DEVICE else None

    @property
    def weight(self) -> int:
        """About how many bytes it takes in a pack."""
        signed = len(self.signature.jws) if self.signature else 0
        return len(self.statement.content) + signed

    def signs(self, stored: StoredEvent) -> bool:
        """Tell whether an event is without a signature and may have this one's.

        Only from whoever sent the event: nobody becomes another's event's author by signing the
        same bytes.
        """
        return (
            self.signature is not None
            and stored.signed_package_key is None
            and stored.submitted_by == self.submitter.subject
            and stored.device in (None, self.signature.signed.device.subject)
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submission, the same for every repetition of it.

    Attributes:
        created: whether this very call stored the event.
    """

    event_id: str
    digest_hex: str
    storage_location: str
    processed_at: datetime
    created: bool


Outcome = Receipt | Exception
"""What became of a submission; an exception says why it was not taken."""
