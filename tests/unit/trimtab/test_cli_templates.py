"""``trimtab templates``: every error of a directory, and the objects of a namespace."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import cli

LONG_AGO = 1_600_000_000
QUOTA = """\
# trimtab:variables
# cpu: {type: quantity, default: "4"}
# tier: {type: enum, allowed: [small, large]}
apiVersion: v1
kind: ResourceQuota
metadata:
  name: quota
spec:
  hard:
    limits.cpu: {{ cpu }}
    limits.memory: {{ memory }}
"""
BLOCK = """\
cluster_resources:
  templatePath: {directory}
  customData:
    - staging:
        - memory: {{value: 5Gi}}
        - tier: {{value: medium}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    path.mkdir()
    return path


def write(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text)
    for path in (*directory.iterdir(), directory):  # old enough not to be waited for
        os.utime(path, (LONG_AGO, LONG_AGO))


def trimtab(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["templates", *map(str, arguments)])


def test_render_prints_the_objects_of_a_namespace(directory: Path, tmp_path: Path) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: '{{ namespace }}'}\n"
    write(directory, a=namespace, b=QUOTA)
    attributes = tmp_path / "attributes.yaml"
    attributes.write_text("project: other\ndomain: staging\nattributes: {cpu: 500m, memory: x}\n")
    options = ("-p", "shop", "-d", "staging", "-f", attributes, "--set", "memory=1Gi")
    done = trimtab("render", directory, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop-staging\n---\n"
        "apiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: quota\n  namespace: shop-staging\n"
        "spec:\n  hard:\n    limits.cpu: 500m\n    limits.memory: 1Gi\n"
    )
    done = trimtab("render", directory, *options, "--namespace-template", "{{ domain }}")
    assert "namespace: staging\n" in done.stdout


def test_render_reads_flytes_block(directory: Path, tmp_path: Path) -> None:
    write(directory, a=QUOTA)
    file = tmp_path / "flyte.yaml"
    file.write_text(BLOCK.format(directory=directory))
    done = trimtab("render", "-f", file, "-p", "shop", "-d", "staging", "--set", "tier=small")
    assert "limits.cpu: 4\n    limits.memory: 5Gi\n" in done.stdout
    done = trimtab("render", "-f", file, "-p", "shop", "-d", "staging")
    assert done.exit_code == 1
    assert "a.yaml: variable tier is 'medium'; allowed: one of small, large" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "no directory of templates: name one as DIR"),
        (["{}", "--set", "cpu"], 2, "--set: 'cpu' is not valid; allowed: name=value"),
        (["{}", "--set", "project=x"], 2, "a name that is not reserved"),
        (["{}", "--set", "a b=x"], 2, "a name that a placeholder can have"),
        (["{}", "--namespace-template", "{{{{x}}}}"], 2, "placeholders are {{ project }}"),
        (["{}"], 1, "{{ memory }} (line 11) has no value for project-domain shop/staging"),
        (["{}", "-f", "{}/a.txt"], 2, "a.txt: template: 'x' is not valid; allowed: one of temp"),
    ],
)
def test_a_wrong_argument_is_named(
    directory: Path, arguments: list[str], code: int, reason: str
) -> None:
    write(directory, a=QUOTA)
    (directory / "a.txt").write_text("template: x")
    given = [argument.format(directory) for argument in arguments]
    done = trimtab("render", *given, "-p", "shop", "-d", "staging")
    assert (done.exit_code, reason in done.stderr) == (code, True), done.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-d", "staging"], "Missing option '-p' / '--project'"),
        (["-p", "shop", "-d", ""], "Missing option '-d' / '--domain'"),
        (["-p", "Shop", "-d", "staging"], "'Shop-staging' is not valid; allowed: at most 63"),
    ],
)
def test_a_project_and_domain_without_a_namespace_are_refused(
    directory: Path, arguments: list[str], reason: str
) -> None:
    write(directory, a=QUOTA)
    done = trimtab("render", directory, "--set", "memory=1Gi", *arguments)
    assert (done.exit_code, reason in done.stderr) == (2, True), done.output


def test_lint_lists_every_error(directory: Path, tmp_path: Path) -> None:
    head = "apiVersion: v1\nkind: Role\nmetadata: {name: "
    write(
        directory,
        a=QUOTA,
        b="a: [",
        c=f"{head}x, namespace: kube-system}}\n---\napiVersion: v1\nkind: List\nitems: []",
        d="# trimtab:variables\n# n: {type: number}\n" + head + "d}",
        e=QUOTA.replace("quantity", "integer"),
        f="kind: {{ kind }}",
        g=f"{head}g}}\n---\n{head}g}}",
    )
    os.mkfifo(directory / "h.yaml")
    block = tmp_path / "flyte.yaml"
    block.write_text(BLOCK.format(directory="/nowhere"))
    done = trimtab("lint", directory, "-f", block, "--set", "cpu=lots")
    assert done.exit_code == 1
    lines = [line.removeprefix("Error: template ") for line in done.stderr.splitlines()]
    assert [line[:60] for line in lines] == [
        line[:60]
        for line in (
            "h.yaml: is a FIFO; only regular files are read",
            "b.yaml line 1: not YAML: expected the node content, but found '<stream end>'",
            "d.yaml: variable n.type: 'number' is not valid; allowed: 'string', 'integer',",
            "f.yaml line 1: kind cannot contain a placeholder",
            "e.yaml: variable cpu is declared differently in a.yaml",
            "c.yaml: Role/x is in namespace 'kube-system'; allowed: 'project-domain'",
            "c.yaml: List is a list; write its items as documents, with --- between",
            "e.yaml: ResourceQuota/quota is also an object of a.yaml",
            "g.yaml: Role/g is also an object of g.yaml",
        )
    ]
    (directory / "e.yaml").unlink()
    done = trimtab("lint", directory, "-f", block, "--set", "cpu=lots")
    assert "a.yaml: variable cpu is 'lots'; allowed: a quantity" in done.stderr
    assert "a.yaml: variable tier is 'medium'; allowed: one of small, large" in done.stderr


def test_lint_accepts_what_some_values_make_right(directory: Path) -> None:
    text = "apiVersion: v1\nkind: Role\nmetadata: {name: '{{ a }}', namespace: '{{ b }}'}\n---\n"
    write(directory, a=text + text.replace(" a ", " c "), b=QUOTA)
    done = trimtab("lint", directory)
    assert (done.exit_code, done.stderr) == (0, "2 templates have no error\n")
