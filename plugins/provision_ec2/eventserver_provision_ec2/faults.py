"""What goes wrong at EC2, said so that somebody can do something about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from eventserver_core.errors import BackendUnavailableError

BACKEND = "provisioning=ec2"
NO_SUCH_MACHINE = ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")

_SHOWN_CHARACTERS = 200
_KEYS = "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role)"
_BUSY = "EC2 is overloaded or out of order; the same call may succeed later"
_FULL = "EC2 has no room for it now; try later, or use another ec2.subnet_ids or region"
_LIMIT = "the account may not have more machines; ask Amazon to raise its limit"
_IMAGE = "check ec2.image_ids"
_SUBNET = "check ec2.subnet_ids"
_GROUP = "check ec2.security_group_ids"
_TEMPLATE = "check ec2.launch_template"
_WHY = {
    "AuthFailure": f"EC2 doesn't take the credentials; {_KEYS}",
    "InvalidClientTokenId": f"EC2 doesn't know the access key; {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key is not the access key's; {_KEYS}",
    "UnrecognizedClientException": f"EC2 doesn't know the access key; {_KEYS}",
    "ExpiredToken": f"the session token has expired; {_KEYS}",
    "RequestExpired": "the request was late; set this machine's clock, and check the network",
    "Blocked": "Amazon has this account blocked",
    "PendingVerification": "Amazon still verifies this account in this region",
    "OptInRequired": "the account has not enabled this region, or has not subscribed to EC2",
    "InsufficientInstanceCapacity": _FULL,
    "InsufficientHostCapacity": _FULL,
    "InsufficientReservedInstanceCapacity": _FULL,
    "InsufficientAddressCapacity": _FULL,
    "InsufficientFreeAddressesInSubnet": "the subnet has no address left; enlarge it, or use "
    "another in ec2.subnet_ids",
    "InstanceLimitExceeded": _LIMIT,
    "VcpuLimitExceeded": _LIMIT,
    "MaxSpotInstanceCountExceeded": _LIMIT,
    "RequestLimitExceeded": _BUSY,
    "Throttling": _BUSY,
    "InternalError": _BUSY,
    "InternalFailure": _BUSY,
    "ServiceUnavailable": _BUSY,
    "Unavailable": _BUSY,
    "InvalidAMIID.NotFound": f"there is no such image; {_IMAGE}",
    "InvalidAMIID.Malformed": f"there is no such image; {_IMAGE}",
    "InvalidAMIID.Unavailable": f"the image can't be used; {_IMAGE}",
    "InvalidSubnetID.NotFound": f"there is no such subnet; {_SUBNET}",
    "InvalidSubnet": f"there is no such subnet; {_SUBNET}",
    "InvalidGroup.NotFound": f"there is no such security group; {_GROUP}",
    "InvalidGroupId.Malformed": f"there is no such security group; {_GROUP}",
    "InvalidSecurityGroupID.NotFound": f"there is no such security group; {_GROUP}",
    "InvalidLaunchTemplateId.NotFound": f"there is no such template; {_TEMPLATE}",
    "InvalidLaunchTemplateId.Malformed": f"there is no such template; {_TEMPLATE}",
    "InvalidLaunchTemplateId.VersionNotFound": f"the template has no such version; {_TEMPLATE}",
    "InvalidLaunchTemplateName.NotFoundException": f"there is no such template; {_TEMPLATE}",
    "InvalidKeyPair.NotFound": "there is no such key pair; check ec2.key_name",
    "Unsupported": "EC2 doesn't offer this type there; check ec2.instance_types, ec2.subnet_ids "
    "and whether the image is for the type's processor",
    "VPCIdNotSpecified": f"the account has no default network; {_SUBNET}",
    "IdempotentParameterMismatch": "EC2 has launched a machine under this key already and doesn't "
    "list it; the same call may succeed soon",
}
_REFUSED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_PERMISSIONS = {
    "RunInstances": "ec2:RunInstances and ec2:CreateTags (and iam:PassRole for the profile)",
    "DescribeInstances": "ec2:DescribeInstances",
    "TerminateInstances": "ec2:TerminateInstances",
}


@contextmanager
def reported(what: str, region: str) -> Iterator[None]:
    """Turn all that the client and its connections raise into the core's error.

    Args:
        what: what failed.
        region: where.
    """
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as ex:
        raise BackendUnavailableError(BACKEND, f"{what} ({region}): {_why(ex)}") from ex


def code_of(ex: ClientError) -> str:
    """Return EC2's word for what is wrong."""
    return str(ex.response.get("Error", {}).get("Code", ""))


def _why(ex: Exception) -> str:
    match ex:
        case ClientError():
            return _why_refused(ex)
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return f"no credentials were found; {_KEYS}"
        case SSLError():
            return (
                "EC2's certificate doesn't hold, or it has none; check ec2.endpoint, and name a "
                "file with the certificate that signed it in AWS_CA_BUNDLE"
            )
        case NoConnectionError() | HTTPClientError():
            return (
                f"EC2 does not answer ({type(ex).__name__}); check the network, ec2.regions and "
                "ec2.endpoint"
            )
        case ResponseParserError():
            return "the answer is not one of EC2's; check ec2.endpoint"
    return f"the request can't be made ({type(ex).__name__}); check the section ec2 and ~/.aws"


def _why_refused(ex: ClientError) -> str:
    code = code_of(ex)
    if code in _REFUSED:
        # another operation than these is one that leads to credentials, as AssumeRole
        permission = _PERMISSIONS.get(ex.operation_name, ex.operation_name)
        return f"the account may not do it; allow {permission}"
    if code in _WHY:
        return _WHY[code]
    status = ex.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500:
        return f"{_BUSY} (status {status})"
    # the settings' fault, of which there are too many kinds to know each
    said = " ".join(str(ex.response.get("Error", {}).get("Message", "")).split())
    return f"EC2 refuses it ({code}: {said[:_SHOWN_CHARACTERS]}); check the section ec2"
