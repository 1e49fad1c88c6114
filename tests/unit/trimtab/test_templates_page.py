"""The examples of docs/templates.md work as they are."""

import re
from pathlib import Path

import yaml

from trimtab.levels import Scope
from trimtab.templates import variables
from trimtab.templates.configuration import ClusterResources
from trimtab.templates.rendering import Source, render

PAGE = (Path(__file__).parents[3] / "docs" / "templates.md").read_text()
QUOTA, BLOCK, DECLARATION, ACCOUNT = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PRODUCTION = Scope("production", "shop")


def test_the_quota_takes_its_value_from_flytes_block() -> None:
    block = ClusterResources.model_validate(yaml.safe_load(BLOCK)["cluster_resources"])
    attributes: dict[Scope, dict[str, str]] = {PRODUCTION: {}}
    [quota] = render([Source("a.yaml", QUOTA)], "shop-production", attributes, block.read_values())
    assert quota.body["spec"] == {"hard": {"limits.cpu": 5}}
    assert block.directories == (Path("/etc/flyte/clusterresource/templates"),)


def test_the_declaration_is_complete() -> None:
    found = variables.declared_in("a.yaml", DECLARATION)
    assert found["projectQuotaCpu"].default == "4"
    assert found["tier"].allowed == ("small", "large")


def test_the_default_service_account_gets_a_role_and_a_pull_secret() -> None:
    role = "arn:aws:iam::1:role/{{ project }}-tasks"
    attributes = {PRODUCTION: {"defaultIamRole": role}}
    [account] = render([Source("a.yaml", ACCOUNT)], "shop-production", attributes)
    assert account.body == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "default",
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/shop-tasks"},
        },
        "imagePullSecrets": [{"name": "registry"}],
    }
