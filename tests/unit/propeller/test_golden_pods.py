"""Each pod equals its golden file, so that a change of pods shows as a changed file.

``pytest --update-golden tests/unit/propeller/test_golden_pods.py`` writes the files.
"""

from pathlib import Path

import pytest
import yaml

from tests.golden_pods import CASES

PODS = Path(__file__).parent / "pods"


@pytest.mark.parametrize("name", CASES)
def test_a_pod_equals_its_golden_file(name: str, update_golden: bool) -> None:
    path, pod = PODS / f"{name}.yaml", CASES[name].pod()
    if update_golden:
        path.write_text(yaml.safe_dump(pod, sort_keys=False, allow_unicode=True, width=100))
    assert yaml.safe_load(path.read_text()) == pod


def test_no_golden_file_is_without_its_pod() -> None:
    assert {path.stem for path in PODS.iterdir()} == set(CASES)
