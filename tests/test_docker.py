"""`docker/compose.yaml` as far as one can tell without Docker: it parses, pins, checks, and holds no secret."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[1] / "docker"
SERVICES = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_there_are_both():
    assert set(SERVICES) == {"postgres", "s3"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_checked_and_kept(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["retries"]
    assert service["restart"] == "unless-stopped"
    for volume in service["volumes"]:
        assert volume.split(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_of_this_machine(name):
    for port in SERVICES[name]["ports"]:
        assert port.startswith("${D6TSTORE_BIND:-127.0.0.1}:")


def test_secrets_come_from_files():
    used = [secret for service in SERVICES.values() for secret in service["secrets"]]
    assert sorted(used) == sorted(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert variable.endswith("_FILE") or not re.search("PASSWORD|KEY|SECRET", variable), (variable, value)
    kept = subprocess.run(["git", "check-ignore", "-q", "docker/secrets/s3_secret_key"], cwd=DOCKER.parent)
    assert kept.returncode in (0, 128), "the files of secrets are not for git"  # 128: no checkout


def test_readme_names_what_there_is():
    text = (DOCKER / "README.md").read_text()
    for name in COMPOSE["secrets"]:
        assert name in text
    for variable in set(re.findall(r"D6TSTORE_\w+", (DOCKER / "compose.yaml").read_text())):
        assert variable in text


def test_the_command_of_the_s3_server_is_shell():
    (script,) = SERVICES["s3"]["command"]
    subprocess.run(["sh", "-n", "-c", script.replace("$$", "$")], check=True)
