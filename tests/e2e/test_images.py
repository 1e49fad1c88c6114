"""The images have little in them, and their containers have few rights and exit gracefully."""

import json

import pytest

from tests.e2e.stack import SERVICES, Stack

OTHERS = {
    "admin": ("redis", "trimtab_clusterres", "trimtab_propeller", "trimtab_resmgr"),
    "clusterres": ("sqlalchemy", "redis", "httpx", "trimtab_admin", "trimtab_propeller"),
    "propeller": ("sqlalchemy", "redis", "httpx", "trimtab_admin", "trimtab_clusterres"),
    "resmgr": ("sqlalchemy", "alembic", "trimtab_admin", "trimtab_propeller"),
}
"""Packages that other services need, and this one does not."""


TRY_TO_WRITE = """
for path in ("/opt/x", "/var/tmp/x", "/run/secrets/x", "/tmp/x"):
    try:
        open(path, "w").close()
        print(path)
    except OSError:
        pass
"""


def run(stack: Stack, service: str, code: str) -> str:
    return stack.exec(f"{service}-1", "python", "-c", code)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_the_dependencies_of_its_own_service_only(stack: Stack, service: str) -> None:
    find = "from importlib.util import find_spec; print(*(n for n in {} if find_spec(n)))"
    assert run(stack, service, find.format((*OTHERS[service], "pip", "pytest"))) == ""
    assert run(stack, service, find.format([f"trimtab_{service}"])) == f"trimtab_{service}"
    commands = set(run(stack, service, "import os; print(*os.listdir('/opt/trimtab/bin'))").split())
    assert commands == {f"trimtab-{service}", "service", "python", "python3", "python3.11"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_privileges_and_a_root_file_system_that_is_read_only(
    stack: Stack, service: str
) -> None:
    status = run(stack, service, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {"10001"}
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert run(stack, service, TRY_TO_WRITE) == "/tmp/x"


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_mounts_its_own_secrets_only(stack: Stack, service: str) -> None:
    found = set(run(stack, service, "import os; print(*os.listdir('/run/secrets'))").split())
    expected = {
        "admin": {"trimtab_nats_password", "trimtab_database_url", "api_token"},
        "resmgr": {"trimtab_nats_password", "trimtab_resourcemanager__redis__hostkey", "api_token"},
    }
    assert found == expected.get(service, {"trimtab_nats_password"})


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_labels(stack: Stack, service: str) -> None:
    [image] = json.loads(stack.docker("image", "inspect", f"trimtab-{service}"))
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == f"trimtab-{service}"
    assert labels["org.opencontainers.image.description"].endswith("service of Trimtab")
    assert labels["org.opencontainers.image.version"] == "0"
    assert labels["org.opencontainers.image.revision"] == stack.revision


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_exits_gracefully_when_it_is_stopped(stack: Stack, service: str) -> None:
    stack.docker("stop", stack.name(f"{service}-1"))
    state = stack.inspect(f"{service}-1")["State"]
    stack.docker("start", stack.name(f"{service}-1"))
    # 137 is that of a container that had to be killed.
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    stack.wait_until_healthy(f"{service}-1")
