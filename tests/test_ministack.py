"""A second opinion on the protocol: MiniStack, an emulator of AWS that nobody here wrote.

Nothing else is to be expected of it. Without a Docker engine it completes a roll-out inside the answer of UpdateService
and cannot fail one, it names the service in `startedBy` instead of the deployment, it hardly validates what it is sent,
and it drops two members of the task definition.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import ecs_deploy

pytestmark = pytest.mark.slow
pytest.importorskip("ministack")

START_S = 30


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MiniStack's address; its server is a process of its own, with no Docker engine to be found."""
    port, folder = free_port(), tmp_path_factory.mktemp("ministack")
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    server = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "ecs,sts,logs", "LOG_LEVEL": "WARNING"}
    no_docker = {"DOCKER_HOST": f"unix://{folder}/no-docker.sock"}
    folders = {"HOME": str(folder), "TMPDIR": str(folder), "S3_DATA_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env={**kept, **server, **no_docker, **folders}, stdout=log, stderr=log
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the server is up; raises where it ended or takes too long."""
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="module")
def ecs(url: str) -> Any:
    """A client of MiniStack's ECS, with a cluster and a service in it."""
    client = boto3.client(
        "ecs", region_name="us-east-1", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_cluster(clusterName="prod")
    container = {
        "name": "web",
        "image": "registry.example:5000/shop/web:1",
        "memory": 128,
        "essential": True,
        "environment": [{"name": "TEXT", "value": 'a "quote", a back\\slash, a\nline, ümläut, 日本'}],
    }
    client.register_task_definition(family="web", containerDefinitions=[container], cpu="256", memory="512")
    client.create_service(cluster="prod", serviceName="web", taskDefinition="web", desiredCount=1)
    return client


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own, against MiniStack."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, str(Path(ecs_deploy.__file__)), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_service_is_deployed(url: str, ecs: Any) -> None:
    before = ecs.describe_services(cluster="prod", services=["web"])["services"][0]["taskDefinition"]
    old = ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]

    done = run(url, "-c", "prod", "-n", "web", "-i", "registry.example:5000/shop/web:2")

    service = ecs.describe_services(cluster="prod", services=["web"])["services"][0]
    new = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "Using image name: registry.example:5000/shop/web:2",
            f"Current task definition: {before}",
            f"New task definition: {service['taskDefinition']}",
            "Service updated successfully, new task definition running.",
            "Waiting for service deployment to complete...",
            "Service deployment successful.",
        ],
    )
    assert new["containerDefinitions"][0]["image"] == "registry.example:5000/shop/web:2"
    assert new["containerDefinitions"][0]["environment"] == old["containerDefinitions"][0]["environment"]
    assert (new["cpu"], new["memory"]) == ("256", "512")


def test_an_old_revision_that_no_deployment_uses_is_deregistered(url: str, ecs: Any) -> None:
    """MiniStack lists every deployment that there ever was as ACTIVE, so their definitions count as in use."""
    unused = run(url, "-d", "web", "-to", "9").stdout.partition("New task definition: ")[2].splitlines()[0]

    done = run(url, "-c", "prod", "-n", "web", "-to", "3", "--max-definitions", "1")

    arns = ecs.list_task_definitions(familyPrefix="web", status="ACTIVE")["taskDefinitionArns"]
    assert done.returncode == 0
    assert f"Deregistering outdated task revision: {unused}" in done.stdout
    assert unused not in arns


def test_a_service_that_is_not_there_is_said(url: str, ecs: Any) -> None:
    done = run(url, "-c", "prod", "-n", "nobody", "-i", "registry.example:5000/shop/web:2", "--output=json")

    assert done.returncode == 24
    assert json.loads(done.stdout)["error"] == "The service nobody was not found in cluster prod"
    assert "The services of the cluster: web" in done.stderr


def test_a_role_is_assumed(url: str, ecs: Any) -> None:
    role = "arn:aws:iam::000000000000:role/deployer"

    done = run(url, "-c", "prod", "-n", "web", "--force-new-deployment", "-a", role)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Service deployment successful.")
