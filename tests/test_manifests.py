"""compose.yaml, the manifests of deploy/kubernetes, the Dockerfile and the documents agree with each other.

kubectl builds the manifests as it does for a cluster, and Kubernetes' own schemas are held against what comes out.
"""

import json
import re
import shutil
import subprocess
from math import ceil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands, load_command_class

from calls.addresses import HEALTH, READINESS
from tests.support.production import PATH, ROOT, compose, dockerfile, flag, service, web_command
from tests.test_project import names_in_example, names_in_settings, pins


KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.37"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """What kubectl makes of the base, and of the example with its secrets filled in."""
    folder = shutil.copytree(KUBERNETES, tmp_path_factory.mktemp("kubernetes"), dirs_exist_ok=True)
    shutil.copy(folder / "example" / "secrets.env.example", folder / "example" / "secrets.env")
    return {name: built(folder / name) for name in ("base", "example")}


def built(folder: Path) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(folder)]
    made = subprocess.run(command, env={"PATH": PATH, "HOME": str(folder)}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod of each workload, by the workload's kind."""
    found = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found[manifest["kind"]] = spec["template"]["spec"]
    return found


@pytest.fixture
def worker(manifests) -> Manifest:
    return pods(manifests["base"])["StatefulSet"]


def setting(manifests: list[Manifest], name: str) -> str:
    [settings] = of_kind(manifests, "ConfigMap")
    return settings["data"][name]


def test_every_manifest_is_what_kubernetes_takes(manifests):
    for manifest in [*manifests["base"], *manifests["example"]]:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_file_is_named_by_its_kustomization():
    for folder in (KUBERNETES / "base", KUBERNETES / "example"):
        named = (folder / "kustomization.yaml").read_text()
        files = {path.name.removesuffix(".example") for path in folder.iterdir()} - {"kustomization.yaml"}
        assert [name for name in files if f"- {name}" not in named] == []


def test_the_workers_command_is_the_images_but_for_the_time_that_calls_have(worker):
    [web] = worker["containers"]
    at = web_command().index("--timeout-graceful-shutdown") + 1
    assert web["command"] == [*web_command()[:at], web["command"][at], *web_command()[at + 1 :]]


def test_a_call_has_time_to_end_before_uvicorn_and_uvicorn_before_kubernetes_give_up(worker, manifests):
    [web] = worker["containers"]
    _, pause = web["lifecycle"]["preStop"]["exec"]["command"]
    graceful = int(web["command"][-1])
    assert int(setting(manifests["base"], "DRAIN_SECONDS")) < graceful
    assert int(pause) + graceful < worker["terminationGracePeriodSeconds"]


def test_health_is_asked_where_it_is_answered(worker):
    [web] = worker["containers"]
    asked = {name: web[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {"startupProbe": f"/{HEALTH}", "readinessProbe": f"/{READINESS}", "livenessProbe": f"/{HEALTH}"}
    assert f"health_uri /{READINESS}\n" in (ROOT / "deploy" / "Caddyfile").read_text()


def test_every_way_in_leads_to_the_port_that_the_image_serves(worker, manifests):
    assert web_command()[web_command().index("--port") + 1] == flag("--port") == "8000"
    assert worker["containers"][0]["ports"] == [{"name": "http", "containerPort": 8000}]
    assert {port["targetPort"] for each in of_kind(manifests["base"], "Service") for port in each["spec"]["ports"]} == {
        "http"
    }
    assert re.search(r"^EXPOSE 8000$", dockerfile(), re.MULTILINE)
    assert "-%s:8000" in (ROOT / "deploy" / "proxy").read_text()


def test_every_pod_runs_as_the_images_user_and_can_do_nothing_else(manifests):
    [user] = re.findall(r"useradd --uid (\d+) --gid \1", dockerfile())
    for kind, pod in pods(manifests["base"]).items():
        limits = pod["securityContext"]
        assert (limits["runAsUser"], limits["runAsGroup"], limits["runAsNonRoot"]) == (int(user), int(user), True), kind
        assert limits["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_whoever_gathers_metrics_reaches_the_chores_where_they_are_told(manifests):
    [chores] = pods(manifests["base"])["Deployment"]["containers"]
    assert str(chores["ports"][0]["containerPort"]) == chores["command"][-1]
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests["base"], "NetworkPolicy")}
    [way_in] = policies["callstream-chores"]["ingress"]
    assert way_in["ports"] == [{"port": chores["ports"][0]["name"]}]


def test_the_spool_outlives_its_pod(manifests):
    [workers] = of_kind(manifests["base"], "StatefulSet")
    [claim] = workers["spec"]["volumeClaimTemplates"]
    mounted = {
        each["name"]: each["mountPath"]
        for each in pods(manifests["base"])["StatefulSet"]["containers"][0]["volumeMounts"]
    }
    assert mounted[claim["metadata"]["name"]] == service("web")["environment"]["SPOOL_DIR"]
    assert workers["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"


def test_whatever_refers_to_the_workers_finds_them(manifests):
    by_name = {(each["kind"], each["metadata"]["name"]) for each in manifests["base"]}
    [scaler] = of_kind(manifests["base"], "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in by_name
    [way_in] = of_kind(manifests["base"], "Ingress")
    assert ("Service", way_in["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]) in by_name
    [workers] = of_kind(manifests["base"], "StatefulSet")
    assert ("Service", workers["spec"]["serviceName"]) in by_name
    labels = workers["spec"]["template"]["metadata"]["labels"].items()
    for each in of_kind(manifests["base"], "Service") + of_kind(manifests["base"], "PodDisruptionBudget"):
        selector = each["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels


def test_the_metric_that_scales_is_made_by_the_rule_in_the_operations(manifests):
    [scaler] = of_kind(manifests["base"], "HorizontalPodAutoscaler")
    name = scaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    rule = re.search(r"```yaml\n(externalRules:.*?)```", OPERATIONS, re.DOTALL)[1]
    [made] = yaml.safe_load(rule)["externalRules"]
    assert made["name"]["as"] == name
    assert set(re.findall(r"callstream_\w+", made["metricsQuery"])) == {
        "callstream_streams_active",
        "callstream_streams_capacity",
    }


OPERATIONS = (ROOT / "docs/operations.md").read_text()


def test_every_setting_of_the_manifests_is_one(manifests):
    known = names_in_settings() | names_in_example(for_compose=True)
    for each in [*of_kind(manifests["example"], "ConfigMap"), *of_kind(manifests["example"], "Secret")]:
        assert each["data"].keys() <= known, each["metadata"]["name"]


def test_nothing_secret_stands_in_the_manifests(manifests):
    assert of_kind(manifests["base"], "Secret") == []
    [secret] = re.findall(r"secrets\.env", (ROOT / ".gitignore").read_text())
    assert secret


def documented() -> set[tuple[str, str]]:
    """(document, command) of every `manage.py …` that a document or a file of production names."""
    files = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / ".env.example", *(ROOT / "docs").glob("*.md")]
    return {
        (path.name, command)
        for path in files
        for command in re.findall(r"manage\.py\s+([a-z][a-z_]+)", path.read_text())
    }


def test_every_command_that_is_named_anywhere_exists():
    known = get_commands()
    assert [(name, command) for name, command in documented() if command not in known] == []


def test_every_command_that_production_runs_takes_the_options_that_it_is_run_with(manifests):
    ran = [pod["containers"][0]["command"] for pod in pods(manifests["base"]).values()]
    ran += [each["command"] for each in compose()["services"].values() if "command" in each]
    ran = [words[2:] for words in ran if words[1] == "manage.py"]
    assert ran
    for name, *options in ran:
        load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(options)


def test_the_locked_wheels_are_the_pinned_versions_and_each_has_its_hash():
    locked = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    lines = [line for line in locked.splitlines() if not line.startswith("#")]
    versions = dict(line.split()[0].split("==") for line in lines)
    assert versions == pins("requirements.txt")
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert "--require-hashes -r requirements.lock" in dockerfile()


def test_compose_and_the_dockerfile_begin_with_the_same_python():
    [default] = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", dockerfile(), re.MULTILINE)
    assert service("web")["build"]["args"]["PYTHON_IMAGE"] == f"${{PYTHON_IMAGE:-{default}}}"
    assert json.dumps(service("migrate")["build"]) == json.dumps(service("web")["build"])


def test_the_table_of_scaling_is_what_its_formulas_give():
    text = (ROOT / "docs/scaling.md").read_text()
    rows = re.findall(r"^\| .* \| `(.+)` \| ([\d.,]+) \| ([\d.,]+) \| ([\d.,]+) \|$", text, re.MULTILINE)
    assert len(rows) == 9
    for formula, *figures in rows:
        for n, figure in zip((1_000, 10_000, 1_000_000), figures, strict=True):
            workers = ceil(n / 200) + 1
            value = eval(formula, {"n": n, "workers": workers, "ceil": ceil})
            stated = float(figure.replace(",", ""))
            assert stated == pytest.approx(value, rel=0.05, abs=0.05), (formula, n)
