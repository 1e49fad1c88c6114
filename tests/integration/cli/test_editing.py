"""`trimtab edit`, with scripts in place of an editor."""

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
from trimtab.cli import editing
from trimtab.embedded.directory import Directory

CONFIG = "workflow-execution-config"

Edit = Callable[..., Result]


@pytest.fixture
def edit(trimtab: Trimtab, project: str, tmp_path: Path) -> Edit:
    """Return a function that edits the project's record.

    Each script runs when the editor is opened once more, and can change the variable ``text``.
    """
    visits = tmp_path / "visits"

    def run(*scripts: str, stdin: str = "y\n", flags: tuple[str, ...] = ()) -> Result:
        visits.mkdir(exist_ok=True)
        for old in visits.iterdir():
            old.unlink()
        for index, script in enumerate(scripts):
            (visits / f"{index}.py").write_text(script)
        editor = tmp_path / "editor.py"
        editor.write_text(
            "import pathlib, sys\n"
            f"visits = pathlib.Path({str(visits)!r})\n"
            "number = len(list(visits.glob('*.shown')))\n"
            "file = pathlib.Path(sys.argv[1])\n"
            "text = file.read_text()\n"
            "(visits / f'{number}.shown').write_text(text)\n"
            "script = visits / f'{number}.py'\n"
            "variables = {'text': text}\n"
            "exec(script.read_text() if script.exists() else '', variables)\n"
            "if variables['text'] != text: file.write_text(variables['text'])\n"
        )
        environment = {
            "VISUAL": f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}",
            "TMPDIR": str(tmp_path),
        }
        return trimtab("edit", CONFIG, "-p", project, *flags, stdin=stdin, env=environment)

    return run


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[int], str]:
    """Return a function for the text that a visit of the editor, counted from 0, began with."""
    return lambda visit: (tmp_path / "visits" / f"{visit}.shown").read_text()


@pytest.fixture
def stored(trimtab: Trimtab, project: str, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that stores fields, as another user would."""

    def store(fields: str) -> None:
        file = tmp_path / "stored.yaml"
        file.write_text(f"kind: {CONFIG}\nproject: {project}\ndocument: {fields}\n")
        assert trimtab("apply", "-f", str(file)).exit_code == 0

    return store


@pytest.fixture
def config(trimtab: Trimtab, project: str) -> Callable[[], dict[str, object] | None]:
    """Return a function that reads the stored document; ``None`` where there is none."""

    def read() -> dict[str, object] | None:
        found = trimtab("history", CONFIG, "-p", project, "--limit", "1", "-o", "json")
        document: dict[str, object] | None = json.loads(found.stdout)[0]["after"]
        return document

    return read


Read = Callable[[], dict[str, object] | None]
ADD = "text += 'max_parallelism: 5\\n'"


def test_an_added_field_is_shown_confirmed_and_stored(
    edit: Edit, config: Read, project: str
) -> None:
    done = edit(ADD)
    assert "+    max_parallelism: 5\n" in done.stdout
    assert "effective values change in 1 project, 3 project-domains" in done.stdout
    assert done.stdout.endswith(f"Stored workflow_execution_config of project {project}\n")
    assert config() == {"max_parallelism": 5}


def test_a_dry_run_shows_what_the_edit_changes_without_a_prompt(
    trimtab: Trimtab, edit: Edit, project: str
) -> None:
    done = edit(ADD, stdin="", flags=("--dry-run",))
    assert done.exit_code == 0
    assert "+    max_parallelism: 5\n" in done.stdout
    assert "effective values change in 1 project, 3 project-domains" in done.stdout
    assert done.stdout.endswith("Skipping update request (dryRun)\n")
    assert trimtab("get", CONFIG, "-p", project).exit_code == 3


def test_an_empty_text_deletes_the_record(
    edit: Edit, config: Read, stored: Callable[[str], None]
) -> None:
    stored("{max_parallelism: 4}")
    assert edit("text = ''").exit_code == 0
    assert config() is None
    assert "No changes detected" in edit("text += '\\n'").stdout


def test_leaving_without_saving_changes_nothing(edit: Edit) -> None:
    done = edit("")
    assert (done.exit_code, done.stdout) == (0, "Edit cancelled, nothing was changed.\n")


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ("max_paralelism: 5", "#! max_paralelism: 5 is not valid; allowed: the fields "),
        ("max_parallelism: [", "#! the text is not YAML in line "),
        ("max_parallelism: -1", "#! max_parallelism: -1 is not valid"),
    ],
)
def test_a_mistake_is_shown_at_the_top_and_can_be_corrected(
    edit: Edit, shown: Callable[[int], str], config: Read, mistake: str, error: str
) -> None:
    done = edit(
        f"text += {mistake!r}",
        f"text = text.replace({mistake!r}, 'max_parallelism: 6')",
    )
    assert shown(1).startswith(error)
    assert (done.exit_code, config()) == (0, {"max_parallelism": 6})


def test_a_mistake_that_only_the_server_detects_is_shown_too(
    trimtab: Trimtab, edit: Edit, shown: Callable[[int], str]
) -> None:
    big = "x" * (200 * 1024)
    edit(f"text += 'annotations: {{a: {big}, b: {big}}}'", "text = 'max_parallelism: 2'")
    assert "annotations" in shown(1).splitlines()[0]
    assert shown(1).startswith("#! ")


def test_a_text_with_an_uncorrected_mistake_is_saved_in_a_file(edit: Edit) -> None:
    done = edit("text += 'nonsense: 1\\n'")
    assert (done.exit_code, "Error: nonsense: 1 is not valid" in done.stderr) == (2, True)
    [saved] = re.findall(r"your text is saved in (\S+)", done.stderr)
    assert "nonsense: 1\n" in Path(saved).read_text()
    assert "#!" not in Path(saved).read_text()


def test_a_no_saves_the_text_in_a_file_and_an_e_opens_it_again(edit: Edit, config: Read) -> None:
    refused = edit(ADD, stdin="n\n")
    assert (refused.exit_code, "your text is saved in" in refused.stderr) == (1, True)
    edit(ADD, "text = text.replace('5', '7')", stdin="e\ny\n")
    assert config() == {"max_parallelism": 7}


def test_another_change_meanwhile_is_merged_and_shown_again(
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


def test_another_change_of_the_same_field_is_shown_and_can_be_overwritten(
    edit: Edit, shown: Callable[[int], str], config: Read, data: Path, project: str
) -> None:
    other = _meanwhile(data, project, "{max_parallelism: 9}")
    edit(other + ADD, "text = text.replace(': 5', ': 7')", stdin="y\ny\n")
    assert shown(1).startswith("#! the same fields were changed meanwhile, to: max_parallelism: 9")
    assert "\nmax_parallelism: 5\n" in shown(1)
    assert config() == {"max_parallelism": 7}


def test_the_text_is_saved_in_a_file_when_the_server_stops_meanwhile(
    edit: Edit, data: Path
) -> None:
    address = data / "address"
    script = f"import pathlib; pathlib.Path({str(address)!r}).rename({str(data / 'gone')!r})\n"
    done = edit(script + ADD)
    (data / "gone").rename(address)
    assert (done.exit_code, "your text is saved in" in done.stderr) == (7, True)


def _meanwhile(data: Path, project: str, fields: str) -> str:
    """Return a script for the editor that stores fields with another client."""
    url = f"{Directory(data).url()}/api/v2/records/workflow_execution_config?force=true"
    headers = {
        "Authorization": f"Bearer {Directory(data).api_token()}",
        "Content-Type": "application/json",
    }
    body = json.dumps(yaml.safe_load(fields)).encode()
    request = f"{url}&project={project}", body, headers
    return (
        "import urllib.request as request\n"
        f"url, body, headers = {request!r}\n"
        "request.urlopen(request.Request(url, body, headers, method='PUT'))\n"
    )


def test_a_warning_is_printed_before_the_prompt(edit: Edit) -> None:
    done = edit("text = 'envs: {DB_PASSWORD: hunter2}'", stdin="n\n")
    assert "envs.DB_PASSWORD looks like a credential, which every viewer can read" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_text_is_saved_in_a_file_when_the_edit_is_interrupted(
    edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(editing, "prompt", interrupt)
    done = edit(ADD)
    [saved] = re.findall(r"your text is saved in (\S+)", done.stderr)
    assert "max_parallelism: 5\n" in Path(saved).read_text()
    assert done.exit_code == 1


def test_a_text_that_is_not_utf8_is_an_error_and_the_text_before_is_saved(edit: Edit) -> None:
    latin = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(b'\\xff'); sys.exit()"
    done = edit("text += 'nonsense: 1'", latin)
    assert "Error: what the editor saved is not UTF-8\n" in done.stderr
    [saved] = re.findall(r"your text is saved in (\S+)", done.stderr)
    assert "nonsense: 1" in Path(saved).read_text()
