"""The files of a deployment say what they should, and what they say is understood.

Here belongs all that can be told without a container: `test_image` builds and runs the image.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.instance.config import dagster_instance_config

from fxci_assets_tests.postgres import Postgres

CHECKOUT = Path(__file__).parents[1]
DEPLOY = CHECKOUT / "deploy"
PROGRAMS = Path(sys.executable).parent

SECRETS = {"DAGSTER_PG_PASSWORD": "pg-s3cret", "FXCI_ETL_PULSE_PASSWORD": "pulse-s3cret"}
OURS = ("code", "webserver", "daemon", "publish")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / name).read_text())  # type: ignore[no-any-return]


def test_the_dockerfile_is_well_made() -> None:
    done = subprocess.run(
        [PROGRAMS / "hadolint", CHECKOUT / "Dockerfile"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


FILLED_WITH_SECRETS = ("deploy/.env", "production.env", "secrets.env", "pip.conf")


def test_files_that_people_fill_with_secrets_are_ignored() -> None:
    text = (DEPLOY / "README.md").read_text()
    assert {*re.findall(r"[\w/]*\.env\b|\bpip\.conf\b", text)} == {*FILLED_WITH_SECRETS}
    done = subprocess.run(
        ["git", "check-ignore", *FILLED_WITH_SECRETS], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert (done.stdout.split(), done.stderr) == ([*FILLED_WITH_SECRETS], "")
    # Docker takes the last pattern that matches, so that no later one may let them in again.
    assert (CHECKOUT / ".dockerignore").read_text().endswith("\n**/*.env\n")


def compose_config(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    file, every = ("--file", DEPLOY / "compose.yaml"), ("--profile", "*")
    return subprocess.run(
        [PROGRAMS / "docker-compose", *file, *every, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """As Compose understands them."""
    done = compose_config(SECRETS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]  # type: ignore[no-any-return]


class TestCompose:
    def test_its_services(self, services: dict[str, Any]) -> None:
        assert set(services) == {"postgres", "rabbitmq", *OURS}
        assert {services[name]["image"] for name in OURS} == {"fxci-assets:latest"}

    @pytest.mark.parametrize("missing", sorted(SECRETS))
    def test_a_secret_that_is_not_set_is_named(self, missing: str) -> None:
        done = compose_config({name: v for name, v in SECRETS.items() if name != missing})
        assert done.returncode != 0
        assert f"{missing} is missing a value" in done.stderr

    def test_images_of_others_are_pinned(self, services: dict[str, Any]) -> None:
        for name in ("postgres", "rabbitmq"):
            assert re.fullmatch(rf"{name}:\d+\.[\d.]+", services[name]["image"])

    @pytest.mark.parametrize("name", OURS)
    def test_ours_have_no_rights(self, services: dict[str, Any], name: str) -> None:
        service = services[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert "user" not in service  # the image's own

    def test_nothing_is_reached_from_other_machines(self, services: dict[str, Any]) -> None:
        ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
        assert list(ports) == ["webserver"]
        assert [port["host_ip"] for port in ports["webserver"]] == ["127.0.0.1"]

    def test_it_drains_a_broker_of_its_own_into_local_storage(
        self, services: dict[str, Any]
    ) -> None:
        environment = services["code"]["environment"]
        assert environment["FXCI_DEPLOYMENT"] == "local"
        assert environment["FXCI_ETL_PULSE_HOST"] == "rabbitmq"
        assert (
            environment["FXCI_ETL_PULSE_USER"]
            == (services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_USER"])
        )

    def test_the_workspace_is_its_code_location(self, services: dict[str, Any]) -> None:
        [location] = load("deploy/workspace.yaml")["load_from"]
        assert location["grpc_server"]["host"] in services
        dockerfile = (CHECKOUT / "Dockerfile").read_text()
        assert f'"--port", "{location["grpc_server"]["port"]}"' in dockerfile


def test_the_instance_remembers_in_postgres(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in postgres.environment.items():
        monkeypatch.setenv(name, value)
    asset = dg.AssetMaterialization("tasks_v2", partition="2026-04-13")
    with dg.DagsterInstance.from_config(str(DEPLOY)) as instance:
        instance.report_runless_asset_event(asset)
    with dg.DagsterInstance.from_config(str(DEPLOY)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("tasks_v2")) == {"2026-04-13"}
        assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, pools.pool_granularity.value) == (1, "run")  # type: ignore[union-attr]


def test_a_laptop_and_production_queue_alike() -> None:
    laptop, production = (load(name) for name in ("dagster.yaml", "deploy/dagster.yaml"))
    for key in ("concurrency", "retention", "telemetry", "nux"):
        assert laptop[key] == production[key]
    limits = [config["run_monitoring"]["max_runtime_seconds"] for config in (laptop, production)]
    assert limits == [3_600, 3_600]


def snake(value: object) -> object:
    """A part of the chart's values as dagster.yaml says it."""
    if isinstance(value, dict):
        return {
            key
            if key == "applyLimitPerUniqueValue"
            else re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", key): snake(content)
            for key, content in value.items()
            if key != "enabled"
        }
    return [snake(content) for content in value] if isinstance(value, list) else value


# The keys of the chart's values in the places that ours touch, from its schema
# (https://github.com/dagster-io/dagster/tree/master/helm/dagster/schema).
_POD = {"affinity", "annotations", "env", "envConfigMaps", "envSecrets", "image", "labels"} | {
    *("livenessProbe", "nodeSelector", "podSecurityContext", "readinessProbe", "resources"),
    *("schedulerName", "securityContext", "startupProbe", "tolerations", "volumeMounts", "volumes"),
}
CHART: dict[str, set[str]] = {
    "": {
        *("additionalInstanceConfig", "busybox", "computeLogManager", "concurrency"),
        *("dagster-user-deployments", "dagsterDaemon", "dagsterWebserver", "extraManifests"),
        *("flower", "fullnameOverride", "generateCeleryConfigSecret"),
        *("generatePostgresqlPasswordSecret", "global", "imagePullSecrets", "ingress", "migrate"),
        *("nameOverride", "postgresql", "pythonLogs", "rabbitmq", "rbacEnabled", "redis"),
        *("retention", "runLauncher", "scheduler", "serviceAccount", "telemetry"),
    },
    "global": {
        *("celeryConfigSecretName", "dagsterHome", "dagsterInstanceConfigMap"),
        *("postgresqlSecretName", "serviceAccountName"),
    },
    "postgresql": {
        *("enabled", "image", "postgresqlDatabase", "postgresqlHost", "postgresqlParams"),
        *("postgresqlPassword", "postgresqlScheme", "postgresqlUsername", "service"),
    },
    "postgresql.service": {"port"},
    "dagsterWebserver": _POD | {"enableReadOnly", "pathPrefix", "replicaCount", "service"},
    "dagsterDaemon": _POD
    | {"backfills", "enabled", "heartbeatTolerance", "runCoordinator", "runMonitoring"}
    | {"runRetries", "schedules", "sensors"},
    "dagsterDaemon.runCoordinator": {"config", "enabled", "type"},
    "dagsterDaemon.runCoordinator.config": {"customRunCoordinator", "queuedRunCoordinator"},
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": {
        *("dequeueIntervalSeconds", "dequeueNumWorkers", "dequeueUseThreads"),
        *("maxConcurrentRuns", "tagConcurrencyLimits"),
    },
    "dagsterDaemon.runMonitoring": {
        *("cancelTimeoutSeconds", "enabled", "freeSlotsAfterRunEndSeconds"),
        *("maxResumeRunAttempts", "maxRuntimeSeconds", "pollIntervalSeconds"),
        "startTimeoutSeconds",
    },
    "dagsterDaemon.runRetries": {"enabled", "maxRetries", "retryOnAssetOrOpFailure"},
    "dagsterDaemon.sensors": {"numSubmitWorkers", "numWorkers", "useThreads"},
    "concurrency": {"enabled", "pools", "runs"},
    "concurrency.pools": {"defaultLimit", "granularity", "opGranularityRunBuffer"},
    "concurrency.runs": {"maxConcurrentRuns", "tagConcurrencyLimits"},
    "concurrency.runs.tagConcurrencyLimits[]": {"key", "limit", "value"},
    "concurrency.runs.tagConcurrencyLimits[].value": {"applyLimitPerUniqueValue"},
    "runLauncher": {"config", "type"},
    "runLauncher.config": {"celeryK8sRunLauncher", "customRunLauncher", "k8sRunLauncher"},
    "runLauncher.config.k8sRunLauncher": {
        *("envConfigMaps", "envSecrets", "envVars", "failPodOnRunFailure", "image"),
        *("imagePullPolicy", "jobNamespace", "kubeconfigFile", "labels", "loadInclusterConfig"),
        *("resources", "runK8sConfig", "schedulerName", "securityContext", "volumeMounts"),
        "volumes",
    },
    "runLauncher.config.k8sRunLauncher.runK8sConfig": {
        *("containerConfig", "jobMetadata", "jobSpecConfig", "podSpecConfig"),
        "podTemplateSpecMetadata",
    },
    "dagster-user-deployments": {
        *("deployments", "enableSubchart", "enabled", "imagePullSecrets", "rbacEnabled"),
        "serviceAccount",
    },
    "dagster-user-deployments.deployments[]": _POD
    | {"codeServerArgs", "dagsterApiGrpcArgs", "deploymentNamespace", "deploymentStrategy"}
    | {"includeConfigInLaunchedRuns", "initContainers", "name", "port", "replicaCount"}
    | {"sidecarContainers"},
    "dagster-user-deployments.deployments[].image": {"pullPolicy", "repository", "tag"},
    "dagster-user-deployments.deployments[].includeConfigInLaunchedRuns": {"enabled"},
    "computeLogManager": {"config", "type"},
    "computeLogManager.config": set(),
    "retention": {"autoMaterialize", "enabled", "schedule", "sensor"},
    "retention.schedule": {"purgeAfterDays"},
    "retention.sensor": {"purgeAfterDays"},
    "retention.sensor.purgeAfterDays": {"failure", "skipped", "started", "success"},
    "telemetry": {"enabled"},
    "rabbitmq": {"enabled"},
    "redis": {"enabled"},
    "flower": {"enabled"},
}

OTHERS = {
    *("env", "envSecrets", "jobSpecConfig", "livenessProbe", "podSecurityContext"),
    *("podSpecConfig", "readinessProbe", "resources", "securityContext", "startupProbe"),
    *("volumeMounts", "volumes", "additionalInstanceConfig"),
}
"""Below these the keys are not the chart's, but Kubernetes's, and Dagster's below the last."""


def keys(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Each key of the chart's, with its place."""
    if isinstance(value, list):
        for content in value:
            yield from keys(content, f"{place}[]")
    elif isinstance(value, dict):
        for key, content in value.items():
            yield place, key
            if key not in OTHERS:
                yield from keys(content, f"{place}.{key}".lstrip("."))


class TestHelm:
    values = load("deploy/helm-values.yaml")

    @property
    def code(self) -> dict[str, Any]:
        [deployment] = self.values["dagster-user-deployments"]["deployments"]
        return deployment  # type: ignore[no-any-return]

    @property
    def launcher(self) -> dict[str, Any]:
        return self.values["runLauncher"]["config"]["k8sRunLauncher"]  # type: ignore[no-any-return]

    def test_the_chart_knows_each_key(self) -> None:
        unknown = [f"{p}.{key}" for p, key in keys(self.values) if key not in CHART.get(p, set())]
        assert unknown == []

    def test_the_instance_is_that_of_dagster_yaml(self) -> None:
        production = load("deploy/dagster.yaml")
        daemon = self.values["dagsterDaemon"]
        for part in ("concurrency", "telemetry"):
            assert snake(self.values[part]) == snake(production[part])
        assert snake(daemon["runRetries"]) == snake(production["run_retries"])
        assert snake(daemon["sensors"]) == snake(production["sensors"])
        assert (
            self.values["postgresql"]["postgresqlScheme"]
            == (production["storage"]["postgres"]["postgres_db"]["scheme"])
        )
        monitoring = production["run_monitoring"]
        assert snake(daemon["runMonitoring"]).items() >= snake(monitoring).items()  # type: ignore[attr-defined]
        seconds = self.launcher["runK8sConfig"]["jobSpecConfig"]["activeDeadlineSeconds"]
        assert seconds == monitoring["max_runtime_seconds"]

    def test_secrets_are_named_and_not_given(self) -> None:
        text = (DEPLOY / "helm-values.yaml").read_text()
        assert self.code["envSecrets"] == [{"name": "fxci-assets"}]
        assert not re.search(r"^\s*(- name: )?\S*(PASSWORD|CREDENTIALS)", text, re.M)
        assert "postgresqlPassword" not in self.values["postgresql"]

    def test_no_container_has_rights(self) -> None:
        containers = {
            "webserver": self.values["dagsterWebserver"]["securityContext"],
            "daemon": self.values["dagsterDaemon"]["securityContext"],
            "code": self.code["securityContext"],
            "run": self.launcher["securityContext"],
        }
        for name, rights in containers.items():
            assert rights["runAsNonRoot"] is True, name
            assert rights["readOnlyRootFilesystem"] is True, name
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name

    def test_code_and_runs_may_ask_kubernetes_for_nothing(self) -> None:
        """By default the chart gives a role to the account of webserver and daemon, which launch
        pods, and to that of code and runs, which is another one if none is named."""
        assert self.values["dagster-user-deployments"]["rbacEnabled"] is False
        assert "rbacEnabled" not in self.values
        assert "serviceAccount" not in self.values
        assert "serviceAccountName" not in self.values["global"]

    def test_only_webserver_and_daemon_reach_the_code(self) -> None:
        """By the labels of the chart's pods."""
        policy = load("deploy/network-policy.yaml")
        kubernetes_validate.validate(policy, kubernetes_validate.latest_version(), strict=True)
        spec = policy["spec"]
        code = {"component": "user-deployments", "deployment": self.code["name"]}
        assert spec["podSelector"]["matchLabels"] == code
        assert spec["policyTypes"] == ["Ingress"]
        [rule] = spec["ingress"]
        assert [port["port"] for port in rule["ports"]] == [self.code["port"]]
        [source] = rule["from"]
        [expression] = source["podSelector"]["matchExpressions"]
        assert expression["values"] == ["dagster-webserver", "dagster-daemon"]

    def test_runs_are_pods_with_limits(self) -> None:
        assert self.values["runLauncher"]["type"] == "K8sRunLauncher"
        assert self.code["includeConfigInLaunchedRuns"] == {"enabled": True}
        assert set(self.code["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}

    def test_the_objects_of_kubernetes_are_valid(self) -> None:
        """In such objects as the chart and the run launcher put them."""
        code, launcher = self.code, self.launcher
        probes = {}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = {key: content for key, content in code[name].items() if key != "enabled"}
            probes[name] = probe | {"exec": {"command": ["dagster"]}}
        shared = {
            "name": "dagster",
            "image": f"{code['image']['repository']}:{code['image']['tag']}",
            "imagePullPolicy": code["image"]["pullPolicy"],
            "env": code["env"],
            "envFrom": [{"secretRef": secret} for secret in code["envSecrets"]],
            "resources": code["resources"],
            "volumeMounts": code["volumeMounts"],
        }
        served = {**shared, **probes, "securityContext": code["securityContext"]}
        run = {**shared, "securityContext": launcher["securityContext"]}
        config = launcher["runK8sConfig"]
        pod = {"containers": [served], "volumes": code["volumes"]}
        labels = {"app": "fxci-assets"}
        objects = [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": code["name"]},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": pod | {"securityContext": code["podSecurityContext"]},
                    },
                },
            },
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "run"},
                "spec": {
                    **config["jobSpecConfig"],
                    "template": {
                        "spec": pod
                        | {"containers": [run], "restartPolicy": "Never"}
                        | config["podSpecConfig"]
                    },
                },
            },
            *(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "chart"},
                    "spec": {
                        "containers": [
                            {"name": "chart"}
                            | {
                                key: part[key]
                                for key in ("resources", "securityContext", "volumeMounts")
                            }
                        ],
                        "securityContext": part["podSecurityContext"],
                        "volumes": part["volumes"],
                    },
                }
                for part in (self.values["dagsterWebserver"], self.values["dagsterDaemon"])
            ),
        ]
        for each in objects:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)

    def test_what_is_beside_the_charts_own_is_configuration_of_dagster(
        self, tmp_path: Path
    ) -> None:
        extra = yaml.safe_dump(self.values["additionalInstanceConfig"])
        (tmp_path / "dagster.yaml").write_text(extra)
        dagster_instance_config(str(tmp_path))
