"""The files under test, and what the processes in them are told."""

from __future__ import annotations

import re
import secrets
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from eventserver_core.settings import Settings
from eventserver_core.settings.layers import variable_name
from eventserver_core.wiring import Configuration, load_configuration
from tests.house.tree import ROOT, text

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VERSION: str = tomllib.loads(text("pyproject.toml"))["project"]["version"]
IMAGE = f"eventserver:{VERSION}"
OWN_ROLES = ("api", "worker", "migrate", "authority")
AUTHORITY = Path("/etc/eventserver-authority")
PINNED = re.compile(r"[a-z0-9./-]+:v?[0-9]+(\.[0-9]+)+(-[a-z0-9.]+)?")

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


def routes() -> set[str]:
    """Return the paths that the application serves."""
    return set(re.findall(r'^        "(/[^"]+)": ', text("eventserver_core/http/app.py"), re.M))


def made_environment(folder: Path) -> dict[str, str]:
    """Return what ``make-env.sh`` makes in a folder."""
    script = folder / "make-env.sh"
    script.write_bytes((DEPLOY / "make-env.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True, capture_output=True, cwd="/")
    lines = (folder / ".env").read_text("utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the compose file, with its variables filled in where they are given."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return document if variables is None else _with(document, variables)


def _with(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _with(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_with(value, variables) for value in node]
    if isinstance(node, str):
        return _VARIABLE.sub(lambda found: _filled(found, variables), node)
    return node


def _filled(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if name is None:
        return "$"
    value = variables.get(name, "")
    if kind == "?":
        assert value, f"{name} is wanted, and was not made"
    return value or (rest if kind == "-" else "")


def manifests() -> list[dict[str, Any]]:
    """Return every Kubernetes object."""
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    """Return one Kubernetes object."""
    (found,) = (m for m in manifests() if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def workloads() -> dict[str, dict[str, Any]]:
    """Return what runs pods, by role."""
    kinds = ("Deployment", "Job")
    return {
        found["metadata"]["name"].removeprefix("eventserver-"): found
        for found in manifests()
        if found["kind"] in kinds
    }


def pod(role: str) -> dict[str, Any]:
    """Return the pod's specification of a role."""
    specification: dict[str, Any] = workloads()[role]["spec"]["template"]["spec"]
    return specification


def container(role: str) -> dict[str, Any]:
    """Return the one container of a role."""
    (found,) = pod(role)["containers"]
    return dict(found)


def read(environ: Mapping[str, str], folder: Path | None) -> Configuration:
    """Read the settings as the process does; any that nobody knows is a failure."""
    image = {
        "EVENTSERVER_ENVIRONMENT": "production",
        "EVENTSERVER__SERVER__DATA_DIR": "/var/lib/eventserver",
    }
    return load_configuration(folder, {**image, **environ})


def pod_configuration(role: str) -> Configuration:
    """Read the settings of a pod; what comes by reference has a value of no meaning."""
    stand_ins = {
        "DATABASE_URL": "postgresql://eventserver@database.example/eventserver",
        "EVENTSERVER__REDIS__URL": "redis://cache.example:6379",
        "EVENTSERVER__CA__PASSPHRASE": secrets.token_hex(32),
    }
    environ = {
        entry["name"]: entry.get("value") or stand_ins.get(entry["name"], "by-reference")
        for entry in container(role)["env"]
    }
    return read(environ, KUBERNETES / "config")


def secret_names(settings: Settings) -> set[str]:
    """Return every environment variable and setting that holds a secret."""
    names = {"DATABASE_URL", variable_name("database", "url"), variable_name("redis", "url")}
    for origin in settings.origins:
        if origin.spec.secret:
            names.add(variable_name(origin.section, origin.spec.key))
            names.add(origin.spec.environment_variable or "")
    # who holds it is as good as known
    return (names | {"AWS_ACCESS_KEY_ID"}) - {""}
