"""Bad input: one clear sentence, an exit code that is not 0, and nothing changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.cli.target import Target
from trimtab.client import Client

TASK = "task-resource-attribute"
HOOKED = """
from trimtab import task, workflow

@task
def work(n: int) -> int:
    return n

@workflow
def job(n: int = 1):
    return work(n=n).with_runtime_override("worker")
"""


@pytest.fixture
def job(trimtab: Trimtab, tmp_path: Path, project: str) -> list[str]:
    """A command that would execute a workflow that is there."""
    file = tmp_path / "job.py"
    file.write_text(HOOKED)
    place = ["-p", project, "-d", "development"]
    assert trimtab("register", str(file), *place).exit_code == 0
    return ["execute", "job", *place]


@pytest.fixture(autouse=True)
def unchanged(data: Path, job: list[str]) -> Iterator[None]:
    """What there was before a test is what there is after it."""

    target = Target(None, None, data)
    before = target.call(_everything)
    yield
    assert target.call(_everything) == before


async def _everything(client: Client) -> list[object]:
    nouns = (
        client.records,
        client.projects,
        client.domains,
        client.clusters,
        client.pools,
        client.workflows,
        client.launch_plans,
        client.executions,
    )
    return [await noun.list() for noun in nouns]


@pytest.fixture
def place(project: str) -> str:
    return f"project: {project}\ndomain: development\n"


def refused(trimtab: Trimtab, *arguments: str) -> tuple[int, str]:
    """The exit code, and the sentence behind ``Error:``."""
    done = trimtab(*arguments)
    assert done.exit_code != 0, done.output
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("Error: "), lines
    assert len(lines) == 1 or lines[0].startswith("Usage: ")
    return done.exit_code, lines[-1].removeprefix("Error: ")


def update(trimtab: Trimtab, tmp_path: Path, text: str, noun: str = TASK) -> tuple[int, str]:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    return refused(trimtab, "update", noun, "--attrFile", str(file), "--force")


def test_an_unknown_kind_is_answered_with_those_there_are(trimtab: Trimtab) -> None:
    for verb in ("get", "update", "delete"):
        code, said = refused(trimtab, verb, "task-resources-attribute")
        assert code == 2
        assert "'task-resources-attribute' does not exist; there are: cluster-assignment" in said
        assert "task-resource-attribute" in said.partition("there are")[2]


def test_an_unknown_project_is_answered_with_those_there_are(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    code, said = update(trimtab, tmp_path, "project: nobody\ndomain: staging\nlimits: {cpu: '1'}\n")
    assert code == 3
    assert "project 'nobody' does not exist; there are: " in said
    assert project in said
    code, said = refused(trimtab, "get", TASK, "-p", "nobody", "-d", "staging")
    assert (code, "project 'nobody' does not exist; there are: " in said) == (3, True)


def test_an_unknown_domain_is_answered_with_those_there_are(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    text = f"project: {project}\ndomain: nowhere\nlimits: {{cpu: '1'}}\n"
    code, said = update(trimtab, tmp_path, text)
    assert code == 3
    assert said.endswith(
        "domain 'nowhere' does not exist; there are: development, production, staging"
    )


def test_an_unknown_field_is_answered_with_its_siblings(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    code, said = update(trimtab, tmp_path, place + "limits: {cpus: '1'}\n")
    assert code == 2
    assert "limits.cpus: '1' is not valid; allowed: the fields limits.cpu, " in said


def test_a_malformed_file_is_answered_with_the_line(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    code, said = update(trimtab, tmp_path, place + "limits: {cpu: '1'\n")
    assert code == 1
    assert "file.yaml is not YAML in line 4, column 1" in said


def test_a_malformed_quantity_is_answered_with_the_grammar(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    code, said = update(trimtab, tmp_path, place + "limits: {memory: 1GB}\n")
    assert code == 2
    assert "limits.memory: '1GB' is not valid; allowed: a number, then one of" in said


def test_defaults_above_limits_are_answered_with_the_limit(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    text = place + "defaults: {cpu: '3'}\nlimits: {cpu: '2'}\n"
    code, said = update(trimtab, tmp_path, text)
    assert code == 2
    assert "defaults.cpu: '3' is not valid; allowed: at most limits.cpu, which is 2" in said


def test_defaults_above_an_inherited_limit_are_answered_with_its_scope(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    code, said = update(trimtab, tmp_path, place + "defaults: {cpu: '3'}\n")
    assert code == 2
    assert "at most limits.cpu, which is 2 by settings, at project-domain shop-" in said


def test_a_level_that_the_kind_does_not_have_is_answered_with_the_reason(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    text = place + "workflow: w\nattributes: {a: b}\n"
    code, said = update(trimtab, tmp_path, text, "cluster-resource-attribute")
    assert code == 2
    assert "namespaces belong to a project and a domain, never to a workflow" in said


@pytest.mark.parametrize("text", ["", "limits: {cpu: '1'}\n"])
def test_a_file_without_a_project_is_refused_as_flytectl_does(
    trimtab: Trimtab, tmp_path: Path, text: str
) -> None:
    code, said = update(trimtab, tmp_path, text)
    assert (code, said.startswith("project is required")) == (2, True)


def test_a_file_without_a_field_does_not_empty_the_record(
    trimtab: Trimtab, tmp_path: Path, place: str
) -> None:
    code, said = update(trimtab, tmp_path, place)
    assert (code, "trimtab delete task-resource-attribute" in said) == (2, True)


def test_an_update_without_a_file_is_refused_as_flytectl_does(trimtab: Trimtab) -> None:
    assert refused(trimtab, "update", TASK) == (
        2,
        "attrFile is mandatory while calling update for task resource attribute",
    )


def test_an_unknown_pool_is_answered_with_those_there_are(trimtab: Trimtab) -> None:
    code, said = refused(trimtab, "get", "pools", "nobodys")
    assert (code, said.startswith("pool 'nobodys' does not exist")) == (3, True)


def test_a_task_of_an_unknown_pool_is_not_registered(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    file = tmp_path / "job.py"
    file.write_text(HOOKED.replace("@task\n", '@task(pool="nobodys")\n'))
    code, said = refused(trimtab, "register", str(file), "-p", project, "-d", "development")
    assert (code, "pool 'nobodys' does not exist" in said) == (3, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def job(:\n", "line 1: is not Python"),
        ("x = 1\n", "defines no workflow"),
        ("1 / 0\n", "line 1: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_module_of_workflows_is_refused_with_the_line(
    trimtab: Trimtab, tmp_path: Path, project: str, text: str, said: str
) -> None:
    file = tmp_path / "job.py"
    file.write_text(text)
    code, sentence = refused(trimtab, "register", str(file), "-p", project, "-d", "development")
    assert (code, said in sentence) == (1, True)


@pytest.mark.parametrize("name", ["Shop", "shop_1", "-", ""])
def test_a_project_that_cannot_be_a_namespace_is_refused(trimtab: Trimtab, name: str) -> None:
    code, said = refused(trimtab, "register", "project", "--", name)
    assert code == 2
    assert said.startswith(f"name: {name!r} is not valid")


def test_a_project_is_registered_once(trimtab: Trimtab, project: str) -> None:
    code, said = refused(trimtab, "register", "project", project)
    assert (code, project in said) == (4, True)


def test_an_execution_of_nothing_is_answered_with_what_there_is(
    trimtab: Trimtab, project: str
) -> None:
    code, said = refused(trimtab, "execute", "nothing", "-p", project, "-d", "development")
    assert (code, "workflow 'nothing' does not exist" in said) == (3, True)
    code, said = refused(trimtab, "explain", "execution", "nothing")
    assert (code, "execution 'nothing' does not exist" in said) == (3, True)


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        (("--override", "trainer={}"), 2, "'trainer' is not valid; allowed: the hooks worker"),
        (("--override", 'worker={"cpu": "2"}'), 2, "override worker: cpu: '2' is not valid"),
        (("--override", "worker={cpu: 2}"), 2, "override worker: '{cpu: 2}' is not valid"),
        (("--override", "worker=2"), 2, "override worker: 2 is not valid; allowed: an object"),
        (
            ("--override", 'worker={"resources": {"requests": {"cpu": "2x"}}}'),
            2,
            "override worker: resources.requests.cpu: '2x' is not valid; allowed: a number",
        ),
        (("--input", "m=3"), 2, "inputs.m: 3 is not valid; allowed: inputs n"),
        (("--input", "n=three"), 2, "input n: 'three' is not valid; allowed: JSON"),
        (("--input", "three"), 2, "--input: 'three' is not valid; allowed: NAME=VALUE"),
        (("--version", "9"), 3, "version of workflow 'job' '9' does not exist; there are: "),
        (("--launch-plan", "none"), 3, "launch plan of workflow job 'none' does not exist"),
    ],
)
def test_what_an_execution_cannot_be_asked_for_is_named(
    trimtab: Trimtab, job: list[str], option: tuple[str, str], code: int, said: str
) -> None:
    found, sentence = refused(trimtab, *job, *option)
    assert (found, said in sentence) == (code, True), sentence
