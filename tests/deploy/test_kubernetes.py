"""The Kubernetes manifests: valid, restricted, without a secret, and true to the settings."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from typing import Any

import kubernetes_validate
import pytest
import yaml

from eventserver_core.pki.files import ISSUING_CERTIFICATE, ISSUING_KEY, ROOT_CERTIFICATE
from eventserver_core.sections import AnchoringSettings, ServerSettings
from eventserver_core.settings.layers import variable_name
from eventserver_core.wiring import Services
from eventserver_core.wiring.authority import authority_directory
from tests.deploy.files import (
    AUTHORITY,
    DEPLOY,
    IMAGE,
    KUBERNETES,
    PINNED,
    VERSION,
    container,
    manifest,
    manifests,
    pod,
    pod_configuration,
    routes,
    secret_names,
    workloads,
)
from tests.house.tree import ROOT

KUBERNETES_VERSION = "1.37"
OBJECTS = [(m["kind"], m["metadata"]["name"]) for m in manifests()]
ROLES = sorted(workloads())
SIZES = {"m": "0.001", "": "1", "Ki": str(2**10), "Mi": str(2**20), "Gi": str(2**30)}
CERTIFICATES = {"name": "eventserver-ca", "optional": True}
UNITS = {name: Decimal(size) for name, size in SIZES.items()}


def _quantity(text: str) -> Decimal:
    found = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", text)
    assert found, text
    return Decimal(found[1]) * UNITS[found[2]]


def _labels(role: str) -> set[tuple[str, str]]:
    return set(workloads()[role]["spec"]["template"]["metadata"]["labels"].items())


def _selected(selector: dict[str, str]) -> set[str]:
    return {role for role in ROLES if set(selector.items()) <= _labels(role)}


@pytest.mark.parametrize(("kind", "name"), OBJECTS)
def test_an_object_is_valid(kind: str, name: str) -> None:
    kubernetes_validate.validate(manifest(kind, name), KUBERNETES_VERSION, strict=True)


def test_every_file_is_applied() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert sorted(listed["resources"]) == sorted(files)
    assert listed["namespace"] == manifest("Namespace", "eventserver")["metadata"]["name"]
    assert listed["images"] == [{"name": "eventserver", "newTag": VERSION}]
    (generated,) = listed["configMapGenerator"]
    for file in generated["files"]:
        assert (KUBERNETES / file).is_file()
    for role in ROLES:
        named = [volume["configMap"] for volume in pod(role)["volumes"] if "configMap" in volume]
        assert named == [{"name": generated["name"]}, CERTIFICATES]


@pytest.mark.parametrize("role", ROLES)
def test_every_setting_is_known_and_production_accepts_it(role: str) -> None:
    configuration = pod_configuration(role)
    assert configuration.settings.is_production
    chosen = configuration.plugins.chosen
    assert (chosen["storage"], chosen["chain"], chosen["ratelimit"]) == ("s3", "evm", "redis")


@pytest.mark.parametrize("role", ROLES)
def test_every_secret_comes_by_reference(role: str) -> None:
    names = secret_names(pod_configuration(role).settings)
    for entry in container(role)["env"]:
        if entry["name"] in names:
            assert set(entry) == {"name", "valueFrom"}, entry["name"]
            assert set(entry["valueFrom"]) == {"secretKeyRef"}
    written = tomllib.loads((KUBERNETES / "config" / "default.toml").read_text("utf-8"))
    in_file = {variable_name(name, key) for name, keys in written.items() for key in keys}
    assert not in_file & names


def test_no_secret_is_among_the_files_and_each_is_described() -> None:
    assert not [name for kind, name in OBJECTS if kind == "Secret"]
    page = (DEPLOY / "README.md").read_text("utf-8")
    for role in ROLES:
        for entry in container(role)["env"]:
            if "valueFrom" in entry:
                reference = entry["valueFrom"]["secretKeyRef"]
                assert f"generic {reference['name']}" in page
                assert f"--from-file={reference['key']}=" in page
        for volume in pod(role)["volumes"]:
            if "secret" in volume:
                assert f"generic {volume['secret']['secretName']}" in page
                for item in volume["secret"].get("items", []):
                    assert f"--from-file={item['key']}" in page


def test_migrations_have_an_address_of_their_own_and_an_end() -> None:
    (entry,) = container("migrate")["env"]
    reference = {"name": "eventserver-database", "key": "migration-url"}
    assert entry == {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": reference}}
    assert 0 < workloads()["migrate"]["spec"]["activeDeadlineSeconds"] <= 600
    page = (DEPLOY / "README.md").read_text("utf-8")
    assert "wait --for=condition=complete --timeout=10m job/eventserver-migrate" in page


@pytest.mark.parametrize("role", ROLES)
def test_certificates_of_the_parts_are_where_the_pages_say(role: str) -> None:
    (volume,) = (v["name"] for v in pod(role)["volumes"] if v.get("configMap") == CERTIFICATES)
    (mount,) = (m for m in container(role)["volumeMounts"] if m["name"] == volume)
    assert mount["readOnly"] is True
    for page in (DEPLOY / "README.md", ROOT / "docs" / "operations.md"):
        assert f"sslrootcert={mount['mountPath']}/" in page.read_text("utf-8")
    made = f"configmap {CERTIFICATES['name']} --from-file="
    assert made in (DEPLOY / "README.md").read_text("utf-8")


def test_a_day_of_anchors_fits_the_budget() -> None:
    configuration = pod_configuration("worker")
    age = configuration.settings[AnchoringSettings].batch_max_age
    written = tomllib.loads((KUBERNETES / "config" / "default.toml").read_text("utf-8"))
    anchors = 86_400 / Decimal(str(age))
    at_40_gwei = anchors * 24_000 * Decimal("1.2") * 40 / 10**9
    assert at_40_gwei <= Decimal(written["evm"]["daily_budget"]) < 2 * at_40_gwei


def test_names_are_asked_of_the_cluster_and_of_the_nodes_cache() -> None:
    (rule,) = manifest("NetworkPolicy", "names")["spec"]["egress"]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
    assert {port["port"] for port in rule["ports"]} == {53}


def test_only_workers_hold_the_accounts_key() -> None:
    account = {variable_name("blockchain", key) for key in ("account_key", "account_key_file")}
    for role in ROLES:
        names = {entry["name"] for entry in container(role)["env"]}
        secrets = {v["secret"]["secretName"] for v in pod(role)["volumes"] if "secret" in v}
        assert bool(names & account) == (role == "worker")
        assert ("eventserver-account" in secrets) == (role == "worker")
        assert ("eventserver-signing" in secrets) == (role == "api")


def _told(role: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in container(role)["env"]}


def _authority_files(role: str) -> set[str]:
    secrets = [volume["secret"] for volume in pod(role)["volumes"] if "secret" in volume]
    found = [s for s in secrets if s["secretName"] == "eventserver-authority"]
    return {item["path"] for secret in found for item in secret["items"]}


def _ports(role: str) -> set[int | str]:
    (rule,) = manifest("NetworkPolicy", role)["spec"]["egress"]
    return {port["port"] for port in rule["ports"]}


def test_a_worker_holds_no_signing_key_and_no_issuing_key_and_can_reach_storage() -> None:
    told = _told("worker")
    signing = {"JWT_SECRET", variable_name("auth", "jwt_secret")}
    signing |= {variable_name("auth", "signing_key_file"), variable_name("ca", "passphrase")}
    assert not signing & set(told)
    assert _authority_files("worker") == {ROOT_CERTIFICATE}
    for key in ("access_key", "secret_key"):
        reference = told[variable_name("s3", key)]["valueFrom"]["secretKeyRef"]
        assert reference["optional"] is True, "without them it anchors all the same"
    # who launches machines would take these for its own
    assert not [name for name in told if name.startswith("AWS_")]
    assert 443 in _ports("worker")
    assert Services(pod_configuration("worker")).storage


def test_instances_hold_the_issuing_key_and_start_without_it() -> None:
    assert _authority_files("api") == {ROOT_CERTIFICATE, ISSUING_CERTIFICATE, ISSUING_KEY}
    assert not _authority_files("migrate")
    passphrase = _told("api")[variable_name("ca", "passphrase")]["valueFrom"]["secretKeyRef"]
    assert passphrase["name"] == "eventserver-authority"
    assert passphrase["optional"] is True
    for role in ("api", "worker"):
        (volume,) = (v for v in pod(role)["volumes"] if v["name"] == "authority")
        assert volume["secret"]["optional"] is True
        assert volume["secret"]["defaultMode"] & 0o337 == 0
        (mount,) = (m for m in container(role)["volumeMounts"] if m["name"] == "authority")
        assert mount["mountPath"] == str(AUTHORITY)
        assert mount["readOnly"] is True
        assert authority_directory(pod_configuration(role).settings) == AUTHORITY


def test_the_public_address_is_set_for_all_and_is_to_be_changed() -> None:
    for role in ("api", "worker"):
        url = pod_configuration(role).settings[ServerSettings].public_url
        assert url.startswith("https://")
        assert "example" in url


@pytest.mark.parametrize("role", ROLES)
def test_a_file_that_a_setting_names_is_mounted(role: str) -> None:
    mounted = [mount["mountPath"] for mount in container(role)["volumeMounts"]]
    for entry in container(role)["env"]:
        if entry["name"].endswith("_FILE"):
            assert entry["value"].rpartition("/")[0] in mounted


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_is_restricted(role: str) -> None:
    specification, inside = pod(role), container(role)
    assert specification["automountServiceAccountToken"] is False
    assert specification["enableServiceLinks"] is False
    assert specification["serviceAccountName"] == "eventserver"
    context = specification["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(specification)
    writable = {m["mountPath"] for m in inside["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/eventserver"}  # noqa: S108 - a path in the container


@pytest.mark.parametrize("role", ROLES)
def test_volumes_and_mounts_are_the_same(role: str) -> None:
    mounts = [mount["name"] for mount in container(role)["volumeMounts"]]
    assert sorted(mounts) == sorted(volume["name"] for volume in pod(role)["volumes"])


@pytest.mark.parametrize("role", ROLES)
def test_a_container_asks_for_no_more_than_it_may_have(role: str) -> None:
    resources = container(role)["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}
    for name, asked in resources["requests"].items():
        assert _quantity(asked) <= _quantity(resources["limits"][name])


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_pinned(role: str) -> None:
    assert container(role)["image"] == IMAGE
    assert PINNED.fullmatch(IMAGE)


def test_probes_ask_what_the_application_serves() -> None:
    inside = container("api")
    paths = {}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = inside[name]["httpGet"]
        paths[name] = asked["path"]
        assert asked["port"] in {port["name"] for port in inside["ports"]}
    assert set(paths.values()) <= routes()
    assert paths["readinessProbe"] == "/health/ready"
    assert paths["livenessProbe"] == paths["startupProbe"] == "/health/live"


def test_the_service_leads_to_the_port_that_is_listened_on() -> None:
    service = manifest("Service", "eventserver-api")["spec"]
    (port,) = service["ports"]
    (listened,) = container("api")["ports"]
    assert port["targetPort"] == listened["name"]
    assert listened["containerPort"] == pod_configuration("api").settings[ServerSettings].port
    assert _selected(service["selector"]) == {"api"}


@pytest.mark.parametrize("role", ["api", "worker"])
def test_selectors_match_their_own_pods(role: str) -> None:
    def matches(found: dict[str, Any]) -> bool:
        return _selected(found["matchLabels"]) == {role}

    specification = workloads()[role]["spec"]
    assert matches(specification["selector"])
    budget = manifest("PodDisruptionBudget", f"eventserver-{role}")["spec"]
    assert matches(budget["selector"])
    assert budget["maxUnavailable"] == 1
    for spread in specification["template"]["spec"]["topologySpreadConstraints"]:
        assert matches(spread["labelSelector"])


def test_network_policies_match_a_role_each() -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests() if "Policy" in m["kind"]}
    assert policies.pop("nobody")["podSelector"] == {}
    selected = {n: _selected(p["podSelector"]["matchLabels"]) for n, p in policies.items()}
    assert selected == {
        "names": set(ROLES),
        "api": {"api"},
        "worker": {"worker"},
        "migration": {"migrate"},
    }
    open_ports = {
        name: [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
        for name, policy in policies.items()
        if "ingress" in policy
    }
    assert open_ports == {"api": ["http"], "worker": ["metrics"]}


def test_the_autoscaler_moves_the_api() -> None:
    scaler = manifest("HorizontalPodAutoscaler", "eventserver-api")["spec"]
    target = scaler["scaleTargetRef"]
    found = manifest(target["kind"], target["name"])
    assert target["apiVersion"] == found["apiVersion"]
    assert "replicas" not in found["spec"], "each apply would undo what the autoscaler did"
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]


def test_an_instance_has_the_time_to_drain() -> None:
    server = pod_configuration("api").settings[ServerSettings]
    assert server.drain_delay > 0
    grace = pod("api")["terminationGracePeriodSeconds"]
    assert grace > server.drain_delay + server.graceful_timeout


def test_a_worker_takes_over_from_another() -> None:
    assert workloads()["worker"]["spec"]["replicas"] == 2
