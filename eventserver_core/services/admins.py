"""Who runs the network: the first admin, those whom others vouch for, and their certificates."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.db.admins import AdminRecord, AdminRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.domain.assertion import (
    ASSERTION_TYPE,
    AUTHORIZATION_TYPE,
    check_assertion,
)
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.keys import public_jwk, thumbprint
from eventserver_core.errors import (
    AuthenticationError,
    ConflictError,
    Fault,
    InvalidInputError,
    LastAdminError,
    NotFoundError,
    PermissionDeniedError,
)
from eventserver_core.services.audit import COMMAND_LINE, Actor, AuditTrail
from eventserver_core.services.identity import Identities

_MAX_NAME = 64
_MAX_JTI = 128
_AUTHORIZATION_LIFETIME = timedelta(hours=1)
_ASSERTION_LIFETIME = timedelta(minutes=5)
_LEEWAY = timedelta(minutes=2)


class Admins:
    """Lets admins in and out.

    Args:
        admins: who they are.
        certificates: which assertions were used.
        identities: issues certificates.
        audit: where it is written down.
        lifetime: how long an admin's certificate holds.
        clock: tells the time.
    """

    def __init__(
        self,
        admins: AdminRepository,
        certificates: CertificateRepository,
        identities: Identities,
        audit: AuditTrail,
        lifetime: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._admins = admins
        self._certificates = certificates
        self._identities = identities
        self._audit = audit
        self._lifetime = lifetime
        self._clock = clock

    def bootstrap(
        self, name: str, public_key: object, *, force: bool = False
    ) -> tuple[AdminRecord, IssuedCertificate]:
        """Make the first admin, whom nobody can vouch for.

        Args:
            name: for people.
            public_key: the JWK of the key that the admin keeps.
            force: make one although there is one already.

        Raises:
            ConflictError: there is an admin, or this key is known.
        """
        key = public_jwk(public_key, signs=True)
        with self._audit.changing():
            existing = self._admins.count_active()
            if existing == 0 or force:
                admin = self._add(name, key, COMMAND_LINE.subject)
                self._audit.record(
                    COMMAND_LINE,
                    "admin_bootstrapped",
                    admin.id,
                    name=admin.name,
                    thumbprint=admin.thumbprint,
                    forced=existing > 0,
                )
                return admin, self._issue(admin)
            # written down although nothing is made: somebody tried
            self._audit.record(
                COMMAND_LINE, "admin_bootstrap_refused", thumbprint(key), admins=existing
            )
        raise ConflictError(
            f"there {'is an admin' if existing == 1 else f'are {existing} admins'} already, who "
            "can authorise others; --force makes one all the same, and the audit trail says so"
        )

    def authorize(
        self, name: str, public_key: object, authorization: str, by: Credentials
    ) -> tuple[AdminRecord, bool]:
        """Let another admin in, for whose key one that is there has signed.

        Args:
            name: for people.
            public_key: the JWK of the new admin's key.
            authorization: a JWT by the key that the caller's certificate binds.
            by: the caller.

        Returns:
            The admin, and whether it is new; the same authorization again changes nothing.

        Raises:
            AuthenticationError: the signature doesn't hold.
            PermissionDeniedError: the caller's certificate binds no key.
            ConflictError: the key is a withdrawn admin's.
        """
        key = public_jwk(public_key, signs=True)
        if by.public_key is None:
            raise PermissionDeniedError(
                "your certificate binds no key to sign with; see eventserver admin bootstrap"
            )
        wanted = {"iss": by.subject, "sub": thumbprint(key), "name": name}
        try:
            check_assertion(
                authorization,
                public_jwk(by.public_key, signs=True),
                type_=AUTHORIZATION_TYPE,
                expected=wanted,
                longest=_AUTHORIZATION_LIFETIME,
                now=self._clock(),
            )
        except ValueError as ex:
            raise AuthenticationError(
                f"the authorization does not hold: {ex}", code="authorization_invalid"
            ) from ex
        with self._audit.changing(by):
            known = self._admins.find_by_key(wanted["sub"])
            if known is not None and known.withdrawn_at is None:
                return known, False
            admin = self._add(name, key, by.subject)
            self._audit.record(
                by, "admin_authorized", admin.id, name=name, thumbprint=admin.thumbprint
            )
        return admin, True

    def issue_certificate(self, admin_id: str, assertion: str) -> IssuedCertificate:
        """Give an admin a certificate, who shows that the key is its own.

        Args:
            admin_id: the admin.
            assertion: a JWT by the admin's key, good for one certificate.

        Raises:
            AuthenticationError: it doesn't hold, was used, or there is no such admin.
        """
        now = self._clock()
        try:
            admin, jti = self._check_assertion(admin_id, assertion, now)
        except ValueError as ex:
            raise AuthenticationError(
                f"the assertion does not hold: {ex}", code="assertion_invalid"
            ) from ex
        with self._audit.changing():
            current = self._admins.find(admin.id)
            if current is None or current.withdrawn_at is not None:
                raise AuthenticationError("there is no such admin", code="assertion_invalid")
            used = f"assertion:{sha256_hex(f'{admin.id} {jti}'.encode())}"
            if not self._certificates.redeem(used, now + _ASSERTION_LIFETIME + _LEEWAY):
                raise AuthenticationError(
                    "the assertion was used; sign another one", code="assertion_invalid"
                )
            issued = self._issue(admin)
            self._audit.record(
                issued.credentials,
                "admin_certificate_issued",
                admin.id,
                certificateId=issued.credentials.certificate_id,
            )
        return issued

    def all(self) -> list[AdminRecord]:
        """Return every admin, the withdrawn ones too."""
        return self._admins.all()

    def withdraw(self, admin_id: str, by: Actor) -> None:
        """End every certificate that an admin holds, and let it get no other; once is for good.

        Raises:
            NotFoundError: there is no such admin.
            LastAdminError: it is the last one.
        """
        with self._audit.changing(by):
            admin = self._admins.find(admin_id)
            if admin is None:
                raise NotFoundError("there is no such admin")
            if admin.withdrawn_at is not None:
                return
            if self._admins.count_active() == 1:
                raise LastAdminError("this is the last admin; authorise another one first")
            self._admins.withdraw(admin_id, by.subject, self._clock())
            self._audit.record(by, "admin_withdrawn", admin_id, name=admin.name)

    def _check_assertion(
        self, admin_id: str, assertion: str, now: datetime
    ) -> tuple[AdminRecord, str]:
        admin = self._admins.find(admin_id)
        if admin is None or admin.withdrawn_at is not None:
            raise ValueError("there is no such admin")
        claims = check_assertion(
            assertion,
            admin.public_key,
            type_=ASSERTION_TYPE,
            expected={"iss": admin.id, "sub": admin.id},
            longest=_ASSERTION_LIFETIME,
            now=now,
        )
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 1 <= len(jti) <= _MAX_JTI:
            raise ValueError(f"its jti is not a text of 1 to {_MAX_JTI} characters")
        return admin, jti

    def _add(self, name: str, key: dict[str, str], by: str) -> AdminRecord:
        if not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
            fault = Fault("/name", f"expected 1 to {_MAX_NAME} printable characters")
            raise InvalidInputError("the admin's name cannot be used", [fault])
        if self._admins.find_by_key(thumbprint(key)) is not None:
            raise ConflictError("this key is on record already; make another one")
        admin = AdminRecord(str(uuid.uuid4()), name, key, thumbprint(key), by, self._clock())
        self._admins.insert(admin)
        return admin

    def _issue(self, admin: AdminRecord) -> IssuedCertificate:
        return self._identities.issue(admin.id, Role.ADMIN, self._lifetime, admin.public_key)
