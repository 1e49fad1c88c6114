"""Loading code of several files: what is collected, how it is imported, and its digests."""

import os
import py_compile
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from trimtab import BadModule, Module, load_module
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.code.bundles import unpack
from trimtab.workflows.graphs.graph import Workflow

WORKFLOW = """
from trimtab import workflow
from .tasks import double
@workflow
def doubling(x: int):
    return double(x=x).with_runtime_override("doubler")
"""
TASKS = """
from trimtab import task
from . import numbers
@task
def double(x: int) -> int:
    return numbers.twice(x)
"""
PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/main.py": WORKFLOW,
    "pkg/tasks.py": TASKS,
    "pkg/numbers.py": "def twice(x): return 2 * x\n",
    "pkg/unused.py": "",
    "pkg/data.json": "{}",
}


def write(directory: Path, files: Mapping[str, str], **more: str) -> Path:
    for name, text in {**files, **more}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def files_of(module: Module) -> set[str]:
    assert module.bundle is not None
    return set(module.bundle.files)


def digest_of(workflow: Workflow) -> str:
    [task] = workflow.tasks.values()
    return task.digest


def test_a_directory_is_registered_as_a_bundle(tmp_path: Path) -> None:
    module = load_module(write(tmp_path, PACKAGE))
    assert module.bundle is not None
    [workflow] = module.workflows
    assert files_of(module) == PACKAGE.keys()
    assert (workflow.bundle, workflow.module) == (module.bundle.digest, "")
    assert workflow.version == module.bundle.digest[:12]
    target = workflow.tasks["double"].target
    assert target.model_dump() | {"code": ""} == {
        "type": "function",
        "module": "pkg.tasks",
        "name": "double",
        "code": "",
    }
    # A task of another module has a hook like any other.
    assert list(workflow.hooks) == ["doubler"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    load_module(write(tmp_path / "first", PACKAGE))  # Libraries that it uses stay loaded.
    root = write(tmp_path / "second", PACKAGE, **{"lib/helper.py": "", "space/inner.py": ""})
    text = (
        "import os, sys, space.inner\nsys.path.insert(0, os.path.dirname(__file__) + '/../lib')\n"
    )
    write(root, {"pkg/path.py": f"{text}import helper\n"})
    before = (set(sys.modules), list(sys.path), list(sys.meta_path))
    load_module(root)
    assert (set(sys.modules), sys.path, sys.meta_path) == before
    assert list(tmp_path.rglob("*.pyc")) == []


def test_directories_with_the_same_modules_are_loaded_one_after_the_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = WORKFLOW.replace("doubling", name)
        write(tmp_path / name, PACKAGE, **{"pkg/main.py": text})
    loaded = [load_module(tmp_path / name).workflows[0].name for name in ("one", "two", "one")]
    assert loaded == ["one", "two", "one"]


def test_a_module_of_the_user_goes_before_an_installed_one(tmp_path: Path) -> None:
    text = WORKFLOW.replace(".tasks", "click.tasks")
    write(tmp_path, {"main.py": text, "click/tasks.py": TASKS.replace("from .", "from click")})
    write(tmp_path, {"click/numbers.py": PACKAGE["pkg/numbers.py"], "click/__init__.py": ""})
    assert files_of(load_module(tmp_path / "main.py")) > {"click/tasks.py"}
    assert sys.modules["click"] is click


def test_old_bytecode_is_not_run(tmp_path: Path) -> None:
    main = write(tmp_path, PACKAGE) / "pkg/main.py"
    py_compile.compile(str(main))
    before = main.stat()
    main.write_text(WORKFLOW.replace("doubling", "tripling"))
    os.utime(main, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_module(tmp_path).workflows[0].name == "tripling"


def test_a_name_of_the_standard_library_stays_that_of_the_library(tmp_path: Path) -> None:
    write(tmp_path, PACKAGE, **{"types.py": "1 / 0", "trimtab/__init__.py": ""})
    module = load_module(tmp_path)
    assert [warning.partition(":")[0] for warning in module.warnings] == [
        str(tmp_path / "trimtab/__init__.py"),
        str(tmp_path / "types.py"),
    ]


def test_a_file_brings_the_packages_and_files_that_it_imports(tmp_path: Path) -> None:
    main = WORKFLOW.replace(".tasks", "pkg.tasks") + "import alone, space.inner\n"
    write(tmp_path, PACKAGE, **{"main.py": main, "alone.py": "", "other.py": "1 / 0"})
    write(tmp_path, {"space/inner.py": "", "space/other.py": "1 / 0"})
    del_main = load_module(tmp_path / "main.py")
    assert files_of(del_main) == {*PACKAGE, "main.py", "alone.py", "space/inner.py"}


def test_a_file_brings_what_modules_import_that_a_package_lists(tmp_path: Path) -> None:
    write(tmp_path, PACKAGE, **{"main.py": f"from listed import *\n{WORKFLOW}"})
    main = (tmp_path / "main.py").read_text().replace(".tasks", "pkg.tasks")
    write(tmp_path, {"main.py": main, "listed/__init__.py": "__all__ = ['b']", "alone.py": ""})
    write(tmp_path, {"listed/b.py": "import alone"})
    assert files_of(load_module(tmp_path / "main.py")) > {"listed/b.py", "alone.py"}


def test_a_file_of_a_package_is_imported_as_a_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, PACKAGE, **{"other.py": "1 / 0"})
    assert files_of(load_module(tmp_path / "pkg/main.py")) == PACKAGE.keys()
    assert files_of(load_module(tmp_path / "pkg")) == PACKAGE.keys()


def test_workflows_are_those_of_the_given_files(tmp_path: Path) -> None:
    other = WORKFLOW.replace("def doubling", "def second") + "from .main import doubling\n"
    write(tmp_path, PACKAGE, **{"pkg/other.py": other})
    paths = [tmp_path / "pkg/other.py"]
    assert [each.name for each in load_module(paths).workflows] == ["second"]
    paths.append(tmp_path / "pkg/main.py")
    assert [each.name for each in load_module(paths).workflows] == ["second", "doubling"]


def test_a_file_that_imports_no_local_module_is_registered_as_text(tmp_path: Path) -> None:
    text = "from trimtab import task, workflow\nimport json, pydantic\n@task\ndef t(): ...\n"
    write(tmp_path, {"main.py": text + "@workflow\ndef w(): t()\n", "json.py": "1 / 0"})
    module = load_module(tmp_path / "main.py")
    assert (module.bundle, module.workflows[0].bundle) == (None, "")
    assert module.workflows[0].module.startswith("from trimtab")
    before = digest_of(module.workflows[0])
    write(tmp_path, {"main.py": text + "@workflow\ndef w(): t()\n# changed\n"})
    assert digest_of(load_module(tmp_path / "main.py").workflows[0]) != before


def test_a_task_is_found_by_its_variable_and_not_by_its_name(tmp_path: Path) -> None:
    text = "from trimtab import task, workflow\n@task(name='other')\ndef double(x): ...\n"
    text += "def _inner(): ...\nnamed = task(_inner)\n@workflow\ndef w(): double(x=1), named()\n"
    write(tmp_path, {"main.py": text})
    for path in (tmp_path / "main.py", tmp_path):
        [workflow] = load_module(path).workflows
        names = {name: task.target.model_dump()["name"] for name, task in workflow.tasks.items()}
        assert names == {"other": "double", "_inner": "named"}


def test_an_image_has_the_code_already(tmp_path: Path) -> None:
    own = TASKS.replace("@task", "@task(container_image='own:1')").replace("double", "own")
    main = WORKFLOW + "    own(x=x)\n"
    main = main.replace("return ", "").replace("import double", "import double, own")
    write(tmp_path, PACKAGE, **{"pkg/main.py": main, "pkg/tasks.py": TASKS + own})
    module = load_module(tmp_path, image="shop/pricing:3")
    [workflow] = module.workflows
    assert (module.bundle, workflow.bundle, workflow.module) == (None, "", "")
    images = {name: task.config.container_image for name, task in workflow.tasks.items()}
    assert images == {"double": "shop/pricing:3", "own": "own:1"}
    assert workflow.tasks["own"].target.model_dump()["module"] == "pkg.tasks"
    assert load_module(tmp_path, image="shop/pricing:4").workflows[0].version != workflow.version


@pytest.mark.parametrize("changed", ["pkg/numbers.py", "pkg/__init__.py", "pkg/data.json"])
def test_the_digest_of_a_task_changes_with_what_it_can_use(tmp_path: Path, changed: str) -> None:
    before = load_module(write(tmp_path, PACKAGE)).workflows[0]
    write(tmp_path, {changed: PACKAGE[changed] + "\n"})
    assert digest_of(load_module(tmp_path).workflows[0]) != digest_of(before)


def test_the_digest_of_a_task_is_that_of_its_code_and_definition(tmp_path: Path) -> None:
    before = load_module(write(tmp_path, PACKAGE)).workflows[0]
    write(tmp_path, {"pkg/unused.py": "x = 1\n", "pkg/main.py": WORKFLOW + "x = 1\n"})
    unrelated = load_module(tmp_path).workflows[0]
    assert unrelated.version != before.version
    assert digest_of(unrelated) == digest_of(before)
    write(tmp_path, {"pkg/tasks.py": TASKS.replace("@task", "@task(retries=1)")})
    assert digest_of(load_module(tmp_path).workflows[0]) != digest_of(before)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pkg/unused.py": "\n1 / 0"}, r"pkg/unused\.py, line 2: ZeroDivisionError"),
        ({"pkg/unused.py": "\nx = ("}, r"pkg/unused\.py, line 2: is not Python"),
        ({"pkg/unused.py": "import sys\nsys.exit()"}, r"pkg/unused\.py, line 2: SystemExit"),
        ({"pkg/unused.py": "import missing"}, r"pkg/unused\.py, line 1: ModuleNotFoundError"),
        (
            {"pkg/numbers.py": "def f():\n    1 / 0\nf()"},
            r"pkg/numbers\.py, line 2: ZeroDivisionError",
        ),
        (
            {"pkg/unused.py": WORKFLOW},
            r"doubling in .*pkg/unused\.py, line 4'.*in .*pkg/main\.py, line 4",
        ),
        (
            {"pkg/unused.py": TASKS},
            r"double in .*pkg/unused\.py, line 4'.*in .*pkg/tasks\.py, line 4",
        ),
        ({"pkg/main.py": ""}, "defines no workflow"),
        (
            {"pkg/unused.py": "import skipped", "skipped.py": "", ".gitignore": "skipped.py"},
            r"'skipped'; .*skipped\.py is no part of the code",
        ),
        # Python would find these in the directory of the package.
        ({".gitignore": "numbers.py"}, r"tasks\.py, line 3.*numbers\.py is no part of the code"),
        (
            {"pkg/unused.py": "import pkg.numbers", ".gitignore": "/pkg/n*"},
            r"numbers\.py is no part of the code",
        ),
        (
            {"pkg/unused.py": "import inner.x", "src/inner/x.py": "", "src/inner/__init__.py": ""},
            r"'inner'; it is in .*/src, so give that directory",
        ),
    ],
)
def test_an_error_names_the_file_and_the_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    write(tmp_path, PACKAGE, **files)
    with pytest.raises(BadModule, match=message):
        load_module(tmp_path)


def test_code_of_several_files_needs_pathspec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PACKAGE, **{".gitignore": "*.csv"})
    monkeypatch.setitem(sys.modules, "pathspec", None)
    with pytest.raises(Rejected, match=r"install trimtab\[client\]"):
        load_module(tmp_path)


def test_parents_in_paths_are_those_of_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PACKAGE, **{"pkg/sub/__init__.py": ""})
    (tmp_path / "link").symlink_to(tmp_path / "pkg/sub")
    for directory in ("pkg/sub", "link"):
        monkeypatch.chdir(tmp_path / directory)
        for path in ("..", "../main.py", "../sub/../main.py"):
            assert load_module(path).workflows[0].tasks["double"].target.module == "pkg.tasks"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = "from trimtab import task, workflow\n@task\ndef t(): ...\n@workflow\ndef w():\n    t()\n"
    (tmp_path / "w.py").write_text(text, encoding="utf-8-sig")
    assert load_module(tmp_path / "w.py").workflows[0].module == text


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    with pytest.raises(BadModule, match=r"fifo\.py: is no regular file"):
        load_module(tmp_path / "fifo.py")


def test_resources_of_packages_without_an_init_file_can_be_read(tmp_path: Path) -> None:
    reading = "from importlib.resources import files\nassert files('space').joinpath('x').is_file()"
    write(tmp_path, PACKAGE, **{"space/m.py": "", "space/x": "", "pkg/unused.py": reading})
    assert load_module(tmp_path).workflows


def test_programs_are_not_run(tmp_path: Path) -> None:
    guarded = WORKFLOW + "if __name__ == '__main__':\n    1 / 0\n"
    write(tmp_path, PACKAGE, **{"pkg/main.py": guarded, "pkg/__main__.py": "1 / 0"})
    assert load_module(write(tmp_path, {"setup.py": "1 / 0"})).workflows


def test_ignored_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, PACKAGE, **{".gitignore": "*.csv\n!keep.csv\n/build/\nsecrets.*\n"})
    ignored = ["a.csv", "build/x.py", "pkg/deep/skip.txt", "pkg/secrets.pem", "pkg/.hidden/x.py"]
    ignored += [".git/x", "__pycache__/x.pyc", "node_modules/x.js", "venv/pyvenv.cfg", "venv/x.py"]
    kept = ["keep.csv", "pkg/build/x.py", "pkg/deep/kept.txt"]
    kept.append("pkg/deep/again.csv")
    write(tmp_path, {"pkg/deep/.gitignore": "*.txt\n!kept.txt\n!again.csv\n"})
    write(tmp_path, dict.fromkeys([*ignored, *kept], ""))
    module = load_module(tmp_path)
    assert files_of(module) == {*PACKAGE, *kept}
    assert module.warnings == ()


def test_the_ignore_files_of_the_repository_count(tmp_path: Path) -> None:
    write(tmp_path, {".git/HEAD": "", ".gitignore": "*.tmp\n/ignored/\n"})
    write(tmp_path / "inner", PACKAGE, **{"x.tmp": ""})
    assert files_of(load_module(tmp_path / "inner")) == PACKAGE.keys()
    write(tmp_path / "ignored", PACKAGE)
    assert files_of(load_module(tmp_path / "ignored")) == PACKAGE.keys()


def test_secrets_and_links_are_left_out_with_a_warning(tmp_path: Path) -> None:
    root = write(tmp_path / "code", PACKAGE, **{".env": "", "key.pem": "", "id_rsa": ""})
    (tmp_path / "outside.py").write_text("1 / 0")
    (root / "out.py").symlink_to(tmp_path / "outside.py")
    (root / "loop").symlink_to(root)
    (root / "inside.json").symlink_to(root / "pkg/data.json")
    os.mkfifo(root / "fifo")
    module = load_module(root)
    assert files_of(module) == {*PACKAGE, "inside.json"}
    named = [Path(warning.partition(":")[0]).name for warning in module.warnings]
    assert named == [".env", "fifo", "id_rsa", "key.pem", "loop", "out.py"]


IMAGES = """
from trimtab import ContainerTask, K8sPod, task, workflow
@task(container_image="team/x:latest")
def own(): ...
@task
def plain(): ...
@task(pod=K8sPod(pod_spec={"containers": [{"name": "primary", "image": "team/pod:v1"}]}))
def in_pod(): ...
@task(pod=K8sPod(pod_spec={"nodeSelector": {"disk": "ssd"}}))
def in_plain_pod(): ...
program = ContainerTask(name="program", image="team/program:v1")
@workflow
def w():
    own(), plain(), in_pod(), in_plain_pod(), program()
"""


def test_tasks_without_an_image_get_the_one_that_has_the_code(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": IMAGES})
    [workflow] = load_module(tmp_path, image="shop/pricing:v1").workflows
    images = {name: task.config.container_image for name, task in workflow.tasks.items()}
    assert images == {
        "own": "team/x:latest",
        "plain": "shop/pricing:v1",
        "in_pod": None,
        "in_plain_pod": "shop/pricing:v1",
        "program": "team/program:v1",
    }
    # The program of an image has no code here.
    before = {name: task.digest for name, task in workflow.tasks.items()}
    write(tmp_path, {"main.py": IMAGES + "x = 1\n"})
    [changed] = load_module(tmp_path, image="shop/pricing:v1").workflows
    same = [name for name, task in changed.tasks.items() if task.digest == before[name]]
    assert same == ["program"]


def test_warnings_about_images_have_the_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": IMAGES})
    module = load_module(tmp_path, image="shop/pricing")
    [given, written] = module.warnings
    assert "image 'shop/pricing' has no tag" in given
    assert written.startswith(f"{tmp_path}/main.py, line 3: image 'team/x:latest' has")


def test_other_warnings_are_issued_as_ever(tmp_path: Path) -> None:
    text = "import warnings\nwarnings.warn('old', UserWarning)\n"
    write(tmp_path, PACKAGE, **{"pkg/unused.py": text})
    with pytest.warns(UserWarning, match="old") as caught:
        assert load_module(tmp_path).warnings == ()
    assert caught[0].filename == str(tmp_path / "pkg/unused.py")


def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PACKAGE)
    fstat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with open(tmp_path / "pkg/data.json", "a") as file:
            file.write(" ")
        return status

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(BadModule, match=r"data\.json: has changed while it was read"):
        load_module(tmp_path)


def test_too_much_data_is_refused_with_the_largest_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PACKAGE, **{"large.csv": "x" * 4000})
    monkeypatch.setattr("trimtab.workflows.code.collecting.MAX_BUNDLE_BYTES", 4100)
    with pytest.raises(Invalid, match=r"4000 of them in large\.csv.*\.gitignore"):
        load_module(tmp_path)
    monkeypatch.setattr("trimtab.workflows.code.collecting.MAX_FILES", 3)
    with pytest.raises(Invalid, match="at most 3 files"):
        load_module(tmp_path)


def test_files_of_two_directories_are_refused(tmp_path: Path) -> None:
    write(tmp_path, PACKAGE, **{"a/x.py": "", "b/y.py": ""})
    with pytest.raises(BadModule, match=r"y\.py: is not in .*a; give the directory of both"):
        load_module([tmp_path / "a/x.py", tmp_path / "b/y.py"])
    for paths in ([tmp_path, tmp_path], [tmp_path / "a/x.py", tmp_path], []):
        with pytest.raises(Rejected):
            load_module(paths)
    write(tmp_path, {"calendar.py": "import a.x"})
    with pytest.raises(BadModule, match=r"calendar\.py: has a name"):
        load_module(tmp_path / "calendar.py")


RUN = """
import sys
from pathlib import Path
from trimtab.workflows.code.loader import forget_module, load_task
from trimtab.workflows.graphs.targets import Function
task = load_task(Path(sys.argv[1]), Function(module=sys.argv[2], name="double"))
print(task.function(x=4))
site = str(Path(click.__file__).parents[1])
assert sys.path.index(sys.argv[1]) < sys.path.index(site)
del task
forget_module()
print(Path(sys.argv[1], "log").read_text())
"""


def test_a_task_is_run_from_an_unpacked_bundle(tmp_path: Path) -> None:
    lazy = TASKS.replace("from . import numbers\n", "").replace(
        "    return",
        "    import click\n    from pkg import numbers\n    assert click.OURS\n    return",
    )
    source = write(tmp_path / "source", PACKAGE, **{"pkg/tasks.py": lazy, "click.py": "OURS = 1"})
    (source / "pkg/tasks.py").write_text(
        f"import os, sys\nif 'code' in __file__:\n    log = open(sys.argv[1] + '/log', 'w')\n"
        f"    log.write('done')\n{lazy}"
    )
    bundle = load_module(source).bundle
    assert bundle is not None
    unpack(bundle.content, tmp_path / "code")
    run: Any = subprocess.run(
        [sys.executable, "-c", f"import click{RUN}", str(tmp_path / "code"), "pkg.tasks"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("8\ndone\n", "")
    assert list((tmp_path / "code").rglob("*.pyc")) == []
