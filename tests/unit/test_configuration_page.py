"""docs/configuration.md describes every field of every configuration class.

``pytest --update-golden tests/unit/test_configuration_page.py`` writes it after a change.
"""

from pathlib import Path

import pytest

from tools import configuration
from trimtab.runtime.config import OWN_KEYS, ServiceConfig

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/configuration.md"


def test_the_page_is_made_from_the_classes(update_golden: bool) -> None:
    expected = configuration.page()
    if update_golden:
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected


@pytest.mark.parametrize("service", configuration.SERVICES)
def test_every_field_is_described(service: str) -> None:
    fields = dict(configuration.properties(configuration.SERVICES[service]))
    assert "nats_url" in fields
    assert [name for name, field in fields.items() if not field.get("description")] == []


@pytest.mark.parametrize("service", configuration.SERVICES)
def test_the_readme_of_a_service_links_to_its_section(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text()
    assert f"../../docs/configuration.md#{service})" in readme
    assert f"\n## {service}\n" in configuration.page()


@pytest.mark.parametrize("service", configuration.SERVICES)
def test_every_service_knows_the_keys_that_each_service_adds_in_the_file(service: str) -> None:
    own = configuration.SERVICES[service].model_fields.keys() - ServiceConfig.model_fields.keys()
    assert OWN_KEYS[service].split() == sorted(own)
