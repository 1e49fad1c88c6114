"""``trimtab doctor``."""

import json

from click.testing import CliRunner

from tests.integration.cli.conftest import Trimtab
from tests.servers import free_port
from trimtab.cli.checks import CHECKS
from trimtab.cli.main import cli


def test_an_embedded_system_has_no_problem(trimtab: Trimtab) -> None:
    done = trimtab("doctor", "-o", "json")
    found = json.loads(done.stdout)
    states = {finding["check"]: finding["state"] for finding in found}
    assert (done.exit_code, states) == (0, dict.fromkeys(CHECKS, "ok")), done.output
    assert "cluster embedded answers" in trimtab("doctor").stdout


def test_a_wrong_token_is_a_problem_with_a_next_step(trimtab: Trimtab) -> None:
    done = trimtab("doctor", "--token", "wrong")
    assert done.exit_code == 1
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("problem  access      ")
    assert "TRIMTAB_TOKEN" in second


def test_a_server_that_does_not_respond_is_a_problem() -> None:
    server = f"http://127.0.0.1:{free_port()}"
    done = CliRunner().invoke(cli, ["doctor", "--server", server, "-o", "json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found[0]["check"], found[0]["state"]) == (1, "access", "problem")
