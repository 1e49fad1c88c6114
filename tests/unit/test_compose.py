"""compose.yaml names variables that exist, and publishes nothing beyond this machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from trimtab.runtime.config import FILE_VARIABLE, SECRETS_VARIABLE
from trimtab_admin.config import AdminConfig
from trimtab_clusterres.config import ClusterresConfig
from trimtab_propeller.config import PropellerConfig
from trimtab_resmgr.config import ResmgrConfig

ROOT = Path(__file__).parents[2]
CONFIGS: dict[str, type[BaseModel]] = {
    "admin": AdminConfig,
    "migrate": AdminConfig,
    "clusterres": ClusterresConfig,
    "propeller": PropellerConfig,
    "resmgr": ResmgrConfig,
}


def services() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_each_variable_of_a_service_is_in_its_configuration(name: str) -> None:
    fields = {f"TRIMTAB_{field}".upper() for field in CONFIGS[name].model_fields}
    variables = {
        variable.partition("__")[0]
        for variable in services()[name]["environment"]
        if not variable.startswith("OTEL_")
    }
    assert variables <= fields | {FILE_VARIABLE, SECRETS_VARIABLE}


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_image_of_another_project_has_a_version() -> None:
    for name, service in services().items():
        tag = service["image"].partition(":")[2]
        is_ours = service["image"].startswith("trimtab-")
        assert is_ours or (tag and tag != "latest"), name


@pytest.mark.parametrize("name", ["admin", "clusterres", "propeller", "resmgr", "migrate"])
def test_a_service_has_no_privileges(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
