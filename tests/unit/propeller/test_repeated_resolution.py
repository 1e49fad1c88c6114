"""The same execution with the same settings resolves the same, byte for byte, in every process."""

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from tests.servers import PATIENCE_SECONDS
from tests.unit.propeller import random_executions
from tests.unit.propeller.random_executions import EXECUTOR, SITE, digest, make
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab_propeller.resolution import resolve

COUNT = 40


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_an_execution_resolves_the_same_twice(seed: int) -> None:
    wanted, known = make(seed)
    try:
        first, second = (resolve(wanted, known, EXECUTOR, SITE) for _ in range(2))
    except Refusal:
        return
    assert to_json(first.content()) == to_json(second.content())
    assert Resolution.model_validate(first.content()) == first


def test_an_execution_resolves_the_same_in_another_process() -> None:
    own = [digest(seed) for seed in range(COUNT)]
    assert len({each for each in own if not each.startswith("refused")}) > COUNT / 2
    for hash_seed in ("1", "4321"):
        printed = subprocess.run(
            [sys.executable, "-m", random_executions.__name__, str(COUNT)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=True,
            text=True,
        )
        assert printed.stdout.splitlines() == own
