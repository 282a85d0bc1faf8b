"""What a machine is given to begin with: a cloud-config that makes a relay of it."""

from __future__ import annotations

import base64
import json

from eventserver_core.backends.provisioning import Enrollment
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import BackendUnavailableError
from eventserver_provision_ec2.faults import BACKEND

ENROLLMENT_PATH = "/etc/eventserver-relay/enrollment.json"
MAX_SIZE = 16 * 1024
"""Bytes that EC2 takes, before they are encoded."""


def make_user_data(enrollment: Enrollment, start_command: str) -> str:
    """Make a cloud-config that writes the enrolment file and starts the relay.

    It is JSON, which YAML contains, and the file stands in it as base64: no character of either
    can end up as a command.

    Raises:
        BackendUnavailableError: it is more than EC2 takes.
    """
    document = {
        "serverUrl": enrollment.server_url,
        "relayId": enrollment.relay_id,
        "token": enrollment.token,
        "expiresAt": format_rfc3339(enrollment.expires_at),
        "rootCertificate": enrollment.root_certificate,
    }
    content = json.dumps(document, indent=2) + "\n"
    config = {
        "write_files": [
            {
                "path": ENROLLMENT_PATH,
                "owner": "root:root",
                "permissions": "0600",
                "encoding": "b64",
                "content": base64.b64encode(content.encode()).decode("ascii"),
            }
        ],
        "runcmd": [["sh", "-c", start_command]],
    }
    user_data = "#cloud-config\n" + json.dumps(config, indent=2) + "\n"
    if len(user_data) > MAX_SIZE:
        raise BackendUnavailableError(
            BACKEND,
            f"what a machine is given is {len(user_data)} bytes, and EC2 takes {MAX_SIZE}; "
            "shorten ec2.start_command, or use a root certificate alone",
        )
    return user_data
