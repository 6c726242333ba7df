"""The Helm chart, rendered by helm itself: valid for Kubernetes, confined, and starting what `up` starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator

from bridge import registry
from bridge.config import loader
from bridge.runtime import healthcheck, processes, supervisor
from bridge.web import server

ROOT = Path(__file__).parents[1]
CHART, MANIFESTS = ROOT / "deploy/helm", ROOT / "deploy/kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((MANIFESTS / "values.yaml").read_text())
MONITORED = {"enabled": True, "tokenSecret": {"name": "scrape", "key": "token"}}
#: The oldest that the chart allows, and the newest that is known here.
VERSIONS = ("1.27", kubernetes_validate.latest_version())
Documents = list[dict[str, Any]]
Render = Callable[..., Documents]


def helm() -> str:
    """The program; without it the test is skipped on a laptop and fails in CI."""
    program = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("helm is not installed; scripts/helm")
    return program


def run_helm(folder: Path, command: list[str], values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """helm with the values of the example and these, without a cluster and without files of a user's own."""
    given = folder / "values.yaml"
    given.write_text(yaml.safe_dump({**VALUES, **values}))
    homes = {f"HELM_{name}_HOME": str(folder) for name in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(
        [helm(), *command, str(CHART), "-f", str(given)],
        capture_output=True,
        text=True,
        env={**homes, "HOME": str(folder)},
    )


@pytest.fixture(scope="module")
def render(starts_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Render:
    folder, known = tmp_path_factory.mktemp("helm"), {}

    def documents(**values: Any) -> Documents:
        key = json.dumps(values, sort_keys=True)
        if key not in known:
            result = run_helm(folder, ["template", "attempt-bridge"], values)
            assert result.returncode == 0, result.stderr
            known[key] = [document for document in yaml.safe_load_all(result.stdout) if document]
        return known[key]

    return documents


@pytest.fixture
def rendered(render: Render) -> Documents:
    """With everything that is optional."""
    return render(serviceMonitor=MONITORED)


def of_kind(documents: Documents, kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def deployments(documents: Documents) -> dict[str, dict[str, Any]]:
    """By part."""
    by_name = of_kind(documents, "Deployment")
    return {name.removeprefix("attempt-bridge-"): document["spec"] for name, document in by_name.items()}


def container(spec: dict[str, Any]) -> dict[str, Any]:
    (only,) = spec["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def probes(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (value for name, value in container(spec).items() if name.endswith("Probe"))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_member(rendered: Documents, version: str) -> None:
    kinds = set()
    for document in rendered:
        if document["kind"] != "ServiceMonitor":  # of the Prometheus operator
            kubernetes_validate.validate(document, version, strict=True)
            kinds.add(document["kind"])
    assert kinds == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}


def test_the_chart_starts_the_same_parts_as_up(rendered: Documents) -> None:
    parts = deployments(rendered)
    assert set(parts) == set(processes.PARTS)
    for name, arguments in processes.PARTS.items():
        assert tuple(container(parts[name])["args"][: len(arguments)]) == arguments
    assert container(parts["web"])["args"][1:] == ["--host", "0.0.0.0", "--port", "8080", "--workers", "2"]


def test_all_parts_but_beat_can_be_scaled(render: Render) -> None:
    replicas = {"web": 5, "worker": 3, "dispatch": 4}
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    parts = deployments(render(**{name: {**defaults[name], "replicas": number} for name, number in replicas.items()}))
    assert {name: spec["replicas"] for name, spec in parts.items()} == {**replicas, "beat": 1}
    assert parts["beat"]["strategy"] == {"type": "Recreate"}


def test_pods_run_as_the_user_of_the_image_without_privileges(rendered: Documents) -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", (ROOT / "Dockerfile").read_text(), re.M)
    for spec in deployments(rendered).values():
        pod = spec["template"]["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user),
            "runAsGroup": int(user),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        for each in [*pod["initContainers"], *pod["containers"]]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["image"] == "attempt-bridge:0.1.0"
            assert each["resources"]["limits"]["memory"]


def test_each_pod_has_a_data_directory_of_its_own_and_the_configuration(rendered: Documents) -> None:
    for spec in deployments(rendered).values():
        mounts = {mount["mountPath"]: mount for mount in container(spec)["volumeMounts"]}
        assert mounts["/data"] == {"name": "data", "mountPath": "/data", "subPath": "bridge"}
        (made,) = spec["template"]["spec"]["initContainers"]
        assert made["command"] == ["install", "-d", "-m", "700", "/volume/bridge"]
        assert made["volumeMounts"] == [{"name": "data", "mountPath": "/volume"}]
        environment = {each["name"]: each.get("value") for each in container(spec)["env"]}
        assert mounts[str(environment["ATTEMPT_BRIDGE_CONFIG"])]["subPath"] == "bridge.yaml"
        assert mounts[str(environment["ATTEMPT_BRIDGE_CONFIG"])]["name"] == "config"


def test_addresses_and_secrets_come_from_the_existing_secret_and_no_secret_is_made(rendered: Documents) -> None:
    assert of_kind(rendered, "Secret") == {}
    for spec in deployments(rendered).values():
        from_secret = {
            each["name"]: each["valueFrom"]["secretKeyRef"] for each in container(spec)["env"] if "valueFrom" in each
        }
        names = ("ATTEMPT_BRIDGE_STATE", "ATTEMPT_BRIDGE_BROKER")
        assert from_secret == {name: {"name": VALUES["existingSecret"], "key": name} for name in names}
        assert container(spec)["envFrom"] == [{"secretRef": {"name": VALUES["existingSecret"]}}]


def test_the_configuration_of_the_example_is_accepted(rendered: Documents, tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(of_kind(rendered, "ConfigMap")["attempt-bridge"]["data"]["bridge.yaml"])
    assert path.read_text() == VALUES["config"]
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), "an-invented-value-of-thirty-letters")
    environment["CRM_WEBHOOK_SECRET"] = f"whsec_{'QUFB' * 10}"
    config = loader.read(path, vendors=registry.vendors(), environment=environment)
    assert (list(config.sources), list(config.subscriptions)) == (["eu-classmarker"], ["crm"])


def test_a_changed_configuration_starts_the_pods_anew(render: Render) -> None:
    changed = render(config=VALUES["config"].replace("acme", "other"))
    for before, after in zip(*(deployments(documents).values() for documents in (render(), changed)), strict=True):
        old, new = (spec["template"]["metadata"]["annotations"]["checksum/config"] for spec in (before, after))
        assert old != new


def test_web_is_probed_over_http_and_the_others_by_their_heartbeat(rendered: Documents) -> None:
    parts = deployments(rendered)
    web = container(parts.pop("web"))
    assert [port["name"] for port in web["ports"]] == ["http"]
    paths = {name: web[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    for name, spec in parts.items():
        (probe,) = probes(spec)
        assert probe["exec"]["command"] == ["python", "-m", healthcheck.__name__, name]
        assert "livenessProbe" not in container(spec)


def test_pods_have_the_time_that_a_stop_takes(rendered: Documents) -> None:
    for spec in deployments(rendered).values():
        grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= max(supervisor.STOP_SECONDS, server._GRACEFUL_SECONDS, 15)


def test_budgets_and_service_select_the_pods_of_one_part(rendered: Documents) -> None:
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in deployments(rendered).items()}

    def selected(selector: Mapping[str, str]) -> list[str]:
        return [name for name, given in labels.items() if selector.items() <= given.items()]

    budgets = of_kind(rendered, "PodDisruptionBudget")
    assert {name: selected(budget["spec"]["selector"]["matchLabels"]) for name, budget in budgets.items()} == {
        f"attempt-bridge-{name}": [name] for name in ("web", "worker", "dispatch")
    }
    assert [budget["spec"]["maxUnavailable"] for budget in budgets.values()] == [1, 1, 1]
    for name, spec in deployments(rendered).items():
        assert selected(spec["selector"]["matchLabels"]) == [name]
    (service,) = of_kind(rendered, "Service").values()
    assert selected(service["spec"]["selector"]) == ["web"]
    (monitor,) = of_kind(rendered, "ServiceMonitor").values()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": MONITORED["tokenSecret"]}


def test_what_is_optional_is_left_out(render: Render) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    without = {
        name: {**defaults[name], "disruptionBudget": {"enabled": False}} for name in ("web", "worker", "dispatch")
    }
    documents = render(**without)
    assert of_kind(documents, "PodDisruptionBudget") == of_kind(documents, "ServiceMonitor") == {}


def test_the_manifests_are_the_chart_with_the_values_of_the_example(render: Render) -> None:
    """Remedy: helm template attempt-bridge deploy/helm -f deploy/kubernetes/values.yaml, into that file."""
    written = yaml.safe_load_all((MANIFESTS / "attempt-bridge.yaml").read_text())
    assert [document for document in written if document] == render()


@pytest.mark.usefixtures("starts_processes")
def test_helm_finds_nothing_wrong_with_the_chart_and_refuses_values_against_its_schema(tmp_path: Path) -> None:
    result = run_helm(tmp_path, ["lint", "--strict"], {})
    assert result.returncode == 0, result.stdout
    result = run_helm(tmp_path, ["template", "x"], {"beat": {"replicas": 2}})
    assert result.returncode != 0
    assert "/beat" in result.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": {"repository": "attempt-bridge", "tag": ""}},
        {"image": {"repository": "attempt-bridge", "tag": "latest"}},
        {"existingSecret": ""},
        {"config": ""},
        {"config": "sources: {}\n"},
        {"beat": {"replicas": 2}},
        {"wokrer": {}},
        {"worker": {"replicas": 0, "disruptionBudget": {"enabled": True}}},
        {"web": {"replicas": 2}},
        {"dispatch": {"replicas": 1, "disruptionBudget": {"enabled": True, "maxUnavailable": 0}}},
        {"logLevel": "verbose"},
        {"serviceMonitor": {"enabled": True, "tokenSecret": {"name": "", "key": "token"}}},
    ],
    ids=str,
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    defaults = {**yaml.safe_load((CHART / "values.yaml").read_text()), **VALUES}
    complete = {**defaults, "image": {**defaults["image"], "repository": "attempt-bridge"}}
    validator = Draft7Validator(schema)
    assert list(validator.iter_errors(complete)) == []
    assert list(validator.iter_errors({**complete, **wrong}))
