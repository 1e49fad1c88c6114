"""Bad input: one clear sentence, an exit code that is not 0, and no change."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.cli.server import Server
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
    """Register a workflow, and return a command that executes it."""
    file = tmp_path / "job.py"
    file.write_text(HOOKED)
    flags = ["-p", project, "-d", "development"]
    assert trimtab("register", str(file), *flags).exit_code == 0
    return ["execute", "job", *flags]


@pytest.fixture(autouse=True)
def unchanged(data: Path, job: list[str]) -> Iterator[None]:
    """Assert that a test changes nothing on the server."""
    server = Server(None, None, data)
    before = server.call(_list_everything)
    yield
    assert server.call(_list_everything) == before


async def _list_everything(client: Client) -> list[object]:
    collections = (
        client.records,
        client.projects,
        client.domains,
        client.clusters,
        client.pools,
        client.workflows,
        client.launch_plans,
        client.executions,
    )
    return [await collection.list() for collection in collections]


@pytest.fixture
def scope(project: str) -> str:
    """Return the keys of an attribute file for the project in development."""
    return f"project: {project}\ndomain: development\n"


def error_of(trimtab: Trimtab, *arguments: str) -> tuple[int, str]:
    """Run a command that fails; return its exit code, and the text after ``Error:``.

    The text is one line; after one of flytectl's, there is a second one with more.
    """
    done = trimtab(*arguments)
    assert done.exit_code != 0, done.output
    usage, _, text = f"\n{done.stderr}".partition("\nError: ")
    assert usage == "" or usage.startswith("\nUsage: ")
    assert text.count("\n") <= 2, text
    return done.exit_code, text.removesuffix("\n")


def update(trimtab: Trimtab, tmp_path: Path, text: str, noun: str = TASK) -> tuple[int, str]:
    """Run an update that fails, from a file with the text; return as `error_of`."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    return error_of(trimtab, "update", noun, "--attrFile", str(file), "--force")


def test_the_error_for_an_unknown_kind_lists_the_kinds(trimtab: Trimtab) -> None:
    for verb in ("get", "update", "delete"):
        code, message = error_of(trimtab, verb, "task-resources-attribute")
        assert code == 2
        assert "'task-resources-attribute' does not exist; there are: cluster-assignment" in message
        assert "task-resource-attribute" in message.partition("there are")[2]


def test_the_error_for_an_unknown_project_lists_the_projects(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    code, message = update(
        trimtab, tmp_path, "project: unknown\ndomain: staging\nlimits: {cpu: '1'}\n"
    )
    assert code == 3
    assert "project 'unknown' does not exist; there are: " in message
    assert "shop-" in message
    code, message = error_of(trimtab, "get", TASK, "-p", "unknown", "-d", "staging")
    assert (code, "project 'unknown' does not exist; there are: " in message) == (3, True)


def test_the_error_for_an_unknown_domain_lists_the_domains(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    text = f"project: {project}\ndomain: nowhere\nlimits: {{cpu: '1'}}\n"
    code, message = update(trimtab, tmp_path, text)
    assert code == 3
    assert message.endswith(
        "domain 'nowhere' does not exist; there are: development, production, staging"
    )


def test_the_error_for_an_unknown_field_lists_the_fields_of_its_group(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    code, message = update(trimtab, tmp_path, scope + "limits: {cpus: '1'}\n")
    assert code == 2
    assert "limits.cpus: '1' is not valid; allowed: the fields limits.cpu, " in message


def test_the_error_for_a_malformed_file_has_line_and_column(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    code, message = update(trimtab, tmp_path, scope + "limits: {cpu: '1'\n")
    assert code == 1
    assert "file.yaml is not YAML in line 4, column 1" in message


def test_the_error_for_a_malformed_quantity_has_the_grammar(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    code, message = update(trimtab, tmp_path, scope + "limits: {memory: 1GB}\n")
    assert code == 2
    assert "limits.memory: '1GB' is not valid; allowed: a number, then one of" in message


def test_the_error_for_a_default_above_its_limit_has_the_limit(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    text = scope + "defaults: {cpu: '3'}\nlimits: {cpu: '2'}\n"
    code, message = update(trimtab, tmp_path, text)
    assert code == 2
    assert "defaults.cpu: '3' is not valid; allowed: at most limits.cpu, which is 2" in message


def test_the_error_for_a_default_above_an_inherited_limit_has_its_scope(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    code, message = update(trimtab, tmp_path, scope + "defaults: {cpu: '3'}\n")
    assert code == 2
    assert "at most limits.cpu, which is 2 by settings, at project-domain shop-" in message


def test_the_error_for_a_refused_level_has_the_reason(
    trimtab: Trimtab, tmp_path: Path, scope: str
) -> None:
    text = scope + "workflow: w\nattributes: {a: b}\n"
    code, message = update(trimtab, tmp_path, text, "cluster-resource-attribute")
    assert code == 2
    assert "namespaces belong to a project and a domain, never to a workflow" in message


@pytest.mark.parametrize("text", ["", "limits: {cpu: '1'}\n"])
def test_the_error_for_a_file_without_a_project_is_flytectls(
    trimtab: Trimtab, tmp_path: Path, text: str
) -> None:
    code, message = update(trimtab, tmp_path, text)
    assert (code, message.startswith("project is required")) == (2, True)


def test_a_file_without_a_field_is_rejected(trimtab: Trimtab, tmp_path: Path, scope: str) -> None:
    code, message = update(trimtab, tmp_path, scope)
    assert (code, "trimtab delete task-resource-attribute" in message) == (2, True)


def test_the_error_for_an_update_without_a_file_is_flytectls(trimtab: Trimtab) -> None:
    assert error_of(trimtab, "update", TASK) == (
        2,
        "attrFile is mandatory while calling update for task resource attribute",
    )


def test_an_unknown_pool_is_named(trimtab: Trimtab) -> None:
    code, message = error_of(trimtab, "get", "pools", "unknown")
    assert (code, message.startswith("pool 'unknown' does not exist")) == (3, True)


def test_a_task_of_an_unknown_pool_is_not_registered(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    file = tmp_path / "job.py"
    file.write_text(HOOKED.replace("@task\n", '@task(pool="unknown")\n'))
    code, message = error_of(trimtab, "register", str(file), "-p", project, "-d", "development")
    assert (code, "pool 'unknown' does not exist" in message) == (3, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def job(:\n", "line 1: is not Python"),
        ("x = 1\n", "defines no workflow"),
        ("1 / 0\n", "line 1: ZeroDivisionError"),
    ],
)
def test_the_error_for_a_file_without_workflows_has_the_line(
    trimtab: Trimtab, tmp_path: Path, project: str, text: str, message: str
) -> None:
    file = tmp_path / "job.py"
    file.write_text(text)
    code, sentence = error_of(trimtab, "register", str(file), "-p", project, "-d", "development")
    assert (code, message in sentence) == (1, True)


@pytest.mark.parametrize("name", ["Shop", "shop_1", "-", ""])
def test_a_project_name_that_no_namespace_can_have_is_rejected(trimtab: Trimtab, name: str) -> None:
    code, message = error_of(trimtab, "register", "project", "--", name)
    assert code == 2
    assert message.startswith(f"name: {name!r} is not valid")


def test_an_existing_project_cannot_be_registered_again(trimtab: Trimtab, project: str) -> None:
    code, message = error_of(trimtab, "register", "project", project)
    assert (code, project in message) == (4, True)


def test_an_unknown_workflow_or_execution_is_named(trimtab: Trimtab, project: str) -> None:
    code, message = error_of(trimtab, "execute", "nothing", "-p", project, "-d", "development")
    assert (code, "workflow 'nothing' does not exist" in message) == (3, True)
    code, message = error_of(trimtab, "explain", "execution", "nothing")
    assert (code, "execution 'nothing' does not exist" in message) == (3, True)


@pytest.mark.parametrize(
    ("option", "code", "message"),
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
        (("--input", "m=3"), 2, "inputs.m: '3' is not valid; allowed: inputs n"),
        (
            ("--input", "n=three"),
            2,
            "input n: 'three' is not valid; allowed: an integer, such as 3",
        ),
        (("--input", "n=true"), 2, "input n: 'true' is not valid; allowed: an integer, such as 3"),
        (("--input", "three"), 2, "--input: 'three' is not valid; allowed: NAME=VALUE"),
        (("--input", "n=1", "--input", "n=2"), 2, "--input: 'n=2' is not valid; allowed: n once"),
        (("--label", "a=1", "--label", "a=1"), 2, "--label: 'a=1' is not valid; allowed: a once"),
        (("--input", 'n={"a": 1, "a": 2}'), 2, "allowed: each key once in an object"),
        (("--version", "9"), 3, "version of workflow 'job' '9' does not exist; there are: "),
        (("--launch-plan", "none"), 3, "launch plan of workflow job 'none' does not exist"),
    ],
)
def test_the_error_for_a_wrong_option_of_execute_names_it(
    trimtab: Trimtab, job: list[str], option: tuple[str, str], code: int, message: str
) -> None:
    found, sentence = error_of(trimtab, *job, *option)
    assert (found, message in sentence) == (code, True), sentence


def test_an_empty_project_needs_a_flag_in_each_command_that_reads_files(
    trimtab: Trimtab, tmp_path: Path
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("kind: workflow_priority\nproject:\ndomain: staging\npriority: 4\n")
    with_file = [["apply", "-f", str(file)], ["diff", "-f", str(file)]]
    file_without_kind = tmp_path / "attributes.yaml"
    file_without_kind.write_text("project:\ndomain: staging\npriority: 4\n")
    with_attributes = ["workflow-priority", "--attrFile", str(file_without_kind)]
    with_file += [["update", *with_attributes, "--force"], ["delete", *with_attributes]]
    for arguments in with_file:
        _, sentence = error_of(trimtab, *arguments)
        assert "project: null is not valid" in sentence
        assert "--domain-wide" in sentence
    for arguments in with_file:
        assert trimtab(*arguments, "--domain-wide").exit_code == 0


def test_an_empty_project_of_a_document_in_our_own_format_needs_the_flag_too(
    trimtab: Trimtab, tmp_path: Path
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(
        "kind: workflow_priority\nproject: ''\ndomain: staging\ndocument: {priority: 4}\n"
    )
    code, sentence = error_of(trimtab, "apply", "-f", str(file))
    assert (code, sentence.count("file.yaml: project: ''")) == (2, 1)
    assert trimtab("apply", "-f", str(file), "--domain-wide", "--dry-run").exit_code == 0


HOSTILE = {
    "an alias that contains itself": ("limits: &a {cpu: *a}\n", "line 3, column 18"),
    "deep nesting": (f"limits: {'[' * 3000}\n", "line 3, column 108"),
    "a key that is a list": ("? [a, b]\n: v\n", "line 3, column 3"),
    "aliases of aliases": (
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{key}: &{key} [{','.join([f'*{last}'] * 9)}]\n"
            for last, key in zip("abcde", "bcdef", strict=True)
        )
        + "limits: *f\n",
        "may stand for at most 10,000 values",
    ),
    "a long value": (f"limits: [{'x, ' * 1000}]\n", "limits: "),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_the_error_for_a_hostile_file_is_one_short_sentence_in_every_command(
    trimtab: Trimtab, scope: str, tmp_path: Path, case: str
) -> None:
    text, message = HOSTILE[case]
    file = tmp_path / "file.yaml"
    file.write_text(scope + text)
    for arguments in (
        ("update", TASK, "--force", "--attrFile", str(file)),
        ("delete", TASK, "--attrFile", str(file)),
        ("apply", "--kind", TASK, "-f", str(file)),
        ("diff", "--kind", TASK, "-f", str(file)),
    ):
        _, sentence = error_of(trimtab, *arguments)
        assert message in sentence
        assert len(sentence) < 1000
