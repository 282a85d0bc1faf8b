"""Moto, which speaks Amazon's EC2 and launches nothing."""

from __future__ import annotations

import base64
import importlib.util
import sys
from collections.abc import Mapping
from xml.etree import ElementTree

import httpx

from eventserver_core.testing.parts.process import Part, PartError

_NEEDED = ("moto", "flask", "flask_cors")
_LOOPBACK_NETWORK = "127.0.0.0/28"


class Moto(Part):
    """An EC2 in memory: its machines are entries in a list, and it forgets them when it stops.

    A machine runs at once, has addresses, and answers at none of them. It differs from Amazon's in
    that it ignores client tokens: two launches with one token are two machines.

    Attributes:
        region: where its methods look.
        image_id: an image that it has.
        credentials: environment variables with keys that it takes; it takes any.
    """

    name = "moto"
    stop_seconds = 5.0
    region = "us-east-1"
    image_id = "ami-12c6146b"
    credentials: Mapping[str, str] = {
        "AWS_ACCESS_KEY_ID": "eventserver-test",
        "AWS_SECRET_ACCESS_KEY": "eventserver-test-secret",
    }

    @property
    def url(self) -> str:
        """Where clients find it, as ``ec2.endpoint`` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return the command."""
        missing = [module for module in _NEEDED if importlib.util.find_spec(module) is None]
        if missing:
            raise PartError("Moto is not installed; run: pip install moto flask flask-cors")
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def environ(self) -> Mapping[str, str]:
        """Return what keeps web pages from asking it."""
        return {"MOTO_DISABLE_GLOBAL_CORS": "true"}

    def is_ready(self) -> bool:
        """Tell whether it answers for EC2, whose part of it is loaded by the first request."""
        try:
            self.call("DescribeRegions")
        except (httpx.HTTPError, PartError):
            return False
        return True

    def reset(self) -> None:
        """Forget all machines, networks and the rest."""
        httpx.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()

    def call(self, action: str, **parameters: str) -> dict[str, str]:
        """Call an action of EC2's, and return the texts of its answer by their names.

        Of a name that is there twice, the first is returned.

        Raises:
            PartError: it refused.
        """
        # it takes any signature, and finds the service and the region in it
        scope = f"{self.credentials['AWS_ACCESS_KEY_ID']}/20260101/{self.region}/ec2/aws4_request"
        answer = httpx.post(
            self.url,
            data={"Action": action, "Version": "2016-11-15", **parameters},
            headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0"},
            timeout=10,
        )
        if answer.status_code != httpx.codes.OK:
            raise PartError(f"{action}: {answer.text}")
        texts: dict[str, str] = {}
        for element in ElementTree.fromstring(answer.text).iter():  # noqa: S314 - it is our own
            texts.setdefault(element.tag.rpartition("}")[2], (element.text or "").strip())
        return texts

    def make_loopback_subnet(self) -> str:
        """Make a subnet whose machines have private addresses from 127.0.0.4 to 127.0.0.14.

        On Linux a process can listen at each of them without further ado.

        Returns:
            the subnet's id.
        """
        vpc = self.call("CreateVpc", CidrBlock=_LOOPBACK_NETWORK)["vpcId"]
        return self.call("CreateSubnet", VpcId=vpc, CidrBlock=_LOOPBACK_NETWORK)["subnetId"]

    def user_data(self, machine_id: str) -> str:
        """Return what a machine was given to begin with; empty where that was nothing.

        Args:
            machine_id: ``i-…``, or ``region/i-…`` with this region.

        Raises:
            PartError: there is no such machine.
        """
        instance_id = machine_id.removeprefix(f"{self.region}/")
        answer = self.call(
            "DescribeInstanceAttribute", InstanceId=instance_id, Attribute="userData"
        )
        return base64.b64decode(answer.get("value", "")).decode()

    def private_address(self, machine_id: str) -> str:
        """Return a machine's private address; see ``user_data``."""
        instance_id = machine_id.removeprefix(f"{self.region}/")
        return self.call("DescribeInstances", **{"InstanceId.1": instance_id})["privateIpAddress"]
