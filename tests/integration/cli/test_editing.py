"""edit: a record in an editor. What a person does there, a script does here."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from tests.integration.cli.conftest import Trimtab
from trimtab.embedded.directory import Directory

CONFIG = "workflow-execution-config"

Edit = Callable[..., Result]


@pytest.fixture
def edit(trimtab: Trimtab, project: str, tmp_path: Path) -> Edit:
    """Edit the project's config: each script is one visit of the editor, and changes ``text``."""
    visits = tmp_path / "visits"

    def run(*scripts: str, stdin: str = "y\n") -> Result:
        visits.mkdir(exist_ok=True)
        for old in visits.iterdir():
            old.unlink()
        for index, script in enumerate(scripts):
            (visits / f"{index}.py").write_text(script)
        editor = tmp_path / "editor.py"
        editor.write_text(
            "import pathlib, sys\n"
            f"visits = pathlib.Path({str(visits)!r})\n"
            "number = len(list(visits.glob('*.seen')))\n"
            "file = pathlib.Path(sys.argv[1])\n"
            "text = file.read_text()\n"
            "(visits / f'{number}.seen').write_text(text)\n"
            "script = visits / f'{number}.py'\n"
            "given = {'text': text}\n"
            "exec(script.read_text() if script.exists() else '', given)\n"
            "if given['text'] != text: file.write_text(given['text'])\n"
        )
        environment = {
            "VISUAL": f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}",
            "TMPDIR": str(tmp_path),
        }
        return trimtab("edit", CONFIG, "-p", project, stdin=stdin, env=environment)

    return run


@pytest.fixture
def seen(tmp_path: Path) -> Callable[[int], str]:
    """What the editor was opened with."""
    return lambda visit: (tmp_path / "visits" / f"{visit}.seen").read_text()


@pytest.fixture
def stored(trimtab: Trimtab, project: str, tmp_path: Path) -> Callable[[str], None]:
    """Store fields, as somebody else does."""

    def store(fields: str) -> None:
        file = tmp_path / "stored.yaml"
        file.write_text(f"kind: {CONFIG}\nproject: {project}\ndocument: {fields}\n")
        assert trimtab("apply", "-f", str(file)).exit_code == 0

    return store


@pytest.fixture
def config(trimtab: Trimtab, project: str) -> Callable[[], dict[str, object] | None]:
    """What is stored."""

    def read() -> dict[str, object] | None:
        found = trimtab("history", CONFIG, "-p", project, "--limit", "1", "-o", "json")
        document: dict[str, object] | None = json.loads(found.stdout)[0]["after"]
        return document

    return read


Read = Callable[[], dict[str, object] | None]
ADD = "text += 'max_parallelism: 5\\n'"


def test_what_is_added_is_shown_asked_and_stored(edit: Edit, config: Read, project: str) -> None:
    done = edit(ADD)
    assert "+    max_parallelism: 5\n" in done.stdout
    assert "effective values change in 1 project, 3 project-domains" in done.stdout
    assert done.stdout.endswith(f"Stored workflow_execution_config of project {project}\n")
    assert config() == {"max_parallelism": 5}


def test_nothing_stored_and_all_taken_away_are_the_same(
    edit: Edit, config: Read, stored: Callable[[str], None]
) -> None:
    stored("{max_parallelism: 4}")
    assert edit("text = ''").exit_code == 0
    assert config() is None
    assert "No changes detected" in edit("text += '\\n'").stdout


def test_left_without_saving_nothing_is_changed(edit: Edit) -> None:
    done = edit("")
    assert (done.exit_code, done.stdout) == (0, "Edit cancelled, nothing was changed.\n")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("max_paralelism: 5", "#! max_paralelism: 5 is not valid; allowed: the fields "),
        ("max_parallelism: [", "#! this is not YAML in line "),
        ("max_parallelism: -1", "#! max_parallelism: -1 is not valid"),
    ],
)
def test_a_mistake_is_shown_on_top_and_can_be_put_right(
    edit: Edit, seen: Callable[[int], str], config: Read, mistake: str, said: str
) -> None:
    done = edit(
        f"text += {mistake!r}",
        f"text = text.replace({mistake!r}, 'max_parallelism: 6')",
    )
    assert seen(1).startswith(said)
    assert (done.exit_code, config()) == (0, {"max_parallelism": 6})


def test_a_mistake_that_only_the_server_finds_is_shown_too(
    trimtab: Trimtab, edit: Edit, seen: Callable[[int], str]
) -> None:
    big = "x" * (200 * 1024)
    edit(f"text += 'annotations: {{a: {big}, b: {big}}}'", "text = 'max_parallelism: 2'")
    assert "annotations" in seen(1).splitlines()[0]
    assert seen(1).startswith("#! ")


def test_a_mistake_that_is_left_as_it_is_is_kept_in_a_file(edit: Edit) -> None:
    done = edit("text += 'nonsense: 1\\n'")
    assert (done.exit_code, "Error: nonsense: 1 is not valid" in done.stderr) == (2, True)
    [kept] = re.findall(r"your text is kept in (\S+)", done.stderr)
    assert "nonsense: 1\n" in Path(kept).read_text()
    assert "#!" not in Path(kept).read_text()


def test_a_no_keeps_the_text_and_an_e_opens_it_again(edit: Edit, config: Read) -> None:
    refused = edit(ADD, stdin="n\n")
    assert (refused.exit_code, "your text is kept in" in refused.stderr) == (1, True)
    edit(ADD, "text = text.replace('5', '7')", stdin="e\ny\n")
    assert config() == {"max_parallelism": 7}


def test_a_change_made_meanwhile_is_merged_and_shown_again(
    edit: Edit,
    config: Read,
    stored: Callable[[str], None],
    data: Path,
    project: str,
) -> None:
    stored("{labels: {a: '1', b: '1'}}")
    done = edit(_meanwhile(data, project, "{labels: {a: '1'}}") + ADD, stdin="y\ny\n")
    assert "both changes are merged" in done.stderr
    assert config() == {"labels": {"a": "1"}, "max_parallelism": 5}


def test_a_change_of_the_same_field_is_told_and_mine_is_offered(
    edit: Edit, seen: Callable[[int], str], config: Read, data: Path, project: str
) -> None:
    other = _meanwhile(data, project, "{max_parallelism: 9}")
    edit(other + ADD, "text = text.replace(': 5', ': 7')", stdin="y\ny\n")
    assert seen(1).startswith("#! somebody else changed the same meanwhile, to: max_parallelism: 9")
    assert "\nmax_parallelism: 5\n" in seen(1)
    assert config() == {"max_parallelism": 7}


def test_a_server_that_goes_away_meanwhile_leaves_the_text_in_a_file(
    edit: Edit, data: Path
) -> None:
    address = data / "address"
    script = f"import pathlib; pathlib.Path({str(address)!r}).rename({str(data / 'gone')!r})\n"
    done = edit(script + ADD)
    (data / "gone").rename(address)
    assert (done.exit_code, "your text is kept in" in done.stderr) == (7, True)


def _meanwhile(data: Path, project: str, fields: str) -> str:
    """A script during which somebody else stores something."""
    url = f"{Directory(data).url()}/api/v2/records/workflow_execution_config?force=true"
    headers = {
        "Authorization": f"Bearer {Directory(data).token()}",
        "Content-Type": "application/json",
    }
    body = json.dumps(yaml.safe_load(fields)).encode()
    asked = f"{url}&project={project}", body, headers
    return (
        "import urllib.request as request\n"
        f"url, body, headers = {asked!r}\n"
        "request.urlopen(request.Request(url, body, headers, method='PUT'))\n"
    )
