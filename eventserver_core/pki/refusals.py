"""Why a certificate signing request is refused.

::

    InvalidInputError
    └── RefusedRequestError           never certified as it is
        ├── UnreadableRequestError    not one PKCS#10 request in PEM that its key signed
        ├── TooManyNamesError         more names than a relay has
        ├── CaNotAllowedError         asks to certify others
        ├── WeakKeyError              a key that can be broken
        ├── KeyNotAllowedError        a good key of a kind that isn't taken
        ├── NameNotAllowedError       a name that isn't the relay's
        └── ExtensionNotAllowedError  asks for what no relay needs
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_core.errors import Fault, InvalidInputError

POINTER = "/csr"
"""Where a request is in what callers send."""
_MAX_FAULTS = 10


class RefusedRequestError(InvalidInputError):
    """The request can never be certified as it is.

    Args:
        message: what is wrong.
        details: a sentence for each thing at fault; the first ten are kept.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        kept = list(details)[:_MAX_FAULTS] or [message]
        super().__init__(message, [Fault(POINTER, detail) for detail in kept])


class UnreadableRequestError(RefusedRequestError):
    """It is not one PKCS#10 request in PEM that was signed by its own key."""

    code = "csr_invalid"


class TooManyNamesError(RefusedRequestError):
    """It names more addresses than a relay has."""

    code = "csr_too_many_names"


class CaNotAllowedError(RefusedRequestError):
    """It asks for a certificate that could certify others."""

    code = "csr_ca_not_allowed"


class WeakKeyError(RefusedRequestError):
    """Its key is short enough to be broken."""

    code = "csr_weak_key"


class KeyNotAllowedError(RefusedRequestError):
    """Its key is of a kind that isn't taken."""

    code = "csr_key_not_allowed"


class NameNotAllowedError(RefusedRequestError):
    """It names an address that isn't the relay's, or none."""

    code = "csr_address_not_allowed"


class ExtensionNotAllowedError(RefusedRequestError):
    """It asks for an extension that no relay needs."""

    code = "csr_extension_not_allowed"
