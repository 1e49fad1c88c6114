"""Values of templates from the configuration, and their declarations, in the running service."""

import asyncio
from pathlib import Path

import yaml

from tests.integration.clusterres.conftest import QUOTA, WORLD, Statuses
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.levels import Scope
from trimtab.messages.events import DomainChanged, RecordChanged
from trimtab.templates.configuration import ClusterResources
from trimtab_clusterres.app import build
from trimtab_clusterres.config import ClusterresConfig

DECLARED = "# trimtab:variables\n# cpu: {type: quantity}\n" + QUOTA


def block(file: Path) -> ClusterResources:
    return ClusterResources.model_validate(
        {
            "customData": [
                {"development": [{"cpu": {"valueFrom": {"filePath": str(file)}}}]},
                {"staging": [{"cpu": {"value": 3}}]},
            ]
        }
    )


async def test_a_bad_value_fails_the_namespaces_that_use_it_until_it_is_good(
    service_config: ClusterresConfig,
    settings_stream: SettingsStream,
    statuses: Statuses,
    templates: Path,
    clusters: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "cpu"
    (templates / "quota.yaml").write_text(DECLARED)
    app = build(service_config.model_copy(update={"cluster_resources": block(file)}))
    await settings_stream.announce(*WORLD, DomainChanged(name="staging"))

    async def status(namespace: str, state: str, reason: str) -> None:
        def found() -> bool:
            return any(
                (each.namespace, each.state) == (namespace, state) and reason in each.error
                for each in statuses.seen
            )

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not found():
                await asyncio.sleep(0.01)

    async with app.router.lifespan_context(app):
        await status("alpha-staging", "ready", "")
        missing = f"line 6: {{{{ cpu }}}}: customData.development.cpu: file {file} cannot be read"
        await status("alpha-development", "failed", missing)
        file.write_text("5\n")
        await status("alpha-development", "ready", "")
        record = {"attributes": {"cpu": "lots"}}
        await settings_stream.announce(
            RecordChanged.at(Scope("development"), "cluster_resource", record)
        )
        wrong = "template quota.yaml: variable cpu is 'lots'; allowed: a quantity"
        await status("alpha-development", "failed", wrong)
    for domain, cpu in (("staging", 3), ("development", 5)):
        text = (clusters / f"east/alpha-{domain}/ResourceQuota-quota.yaml").read_text()
        assert yaml.safe_load(text)["spec"]["hard"]["limits.cpu"] == cpu
