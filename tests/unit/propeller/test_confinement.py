"""Tasks read no hidden path and connect to no closed port; a later kernel enforces more."""

import sys
from pathlib import Path

import pytest

from trimtab_propeller import ports
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.executors import seccomp
from trimtab_propeller.executors.confinement import Confinement, Restriction


def readable(*hidden: Path) -> list[Path]:
    restriction = Restriction(Confinement(hidden=tuple(map(str, hidden))))
    return [Path(path) for path in restriction.readable]


def reaches(path: Path, *hidden: Path) -> bool:
    return any(path.is_relative_to(each) for each in readable(*hidden))


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment with sources beside it, which imports find."""
    for name in ("lib/python/module.py", "bin/python", "src/package/module.py", "data/token"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "src")])
    return tmp_path


def test_a_data_directory_in_the_virtual_environment_is_not_readable(installation: Path) -> None:
    data = installation / "data"
    assert not reaches(data / "token", data)
    assert reaches(installation / "lib" / "python" / "module.py", data)
    assert reaches(installation / "bin" / "python", data)


def test_a_directory_of_sources_that_contains_the_data_directory_is_not_readable(
    installation: Path,
) -> None:
    data = installation / "src" / ".trimtab"
    assert not reaches(data, data)
    assert reaches(installation / "src" / "package" / "module.py", installation / "data")


def test_a_link_does_not_lead_to_the_data_directory(installation: Path) -> None:
    data = installation / "data"
    (installation / "lib" / "link").symlink_to(data)
    (installation / "link").symlink_to(data)
    assert not reaches(data / "token", data)


def test_keys_next_to_certificates_are_not_readable() -> None:
    assert not reaches(Path("/etc/ssl/private"))
    assert not reaches(Path("/etc/shadow"))


def test_the_sdk_and_the_interpreter_are_readable(tmp_path: Path) -> None:
    assert reaches(Path(sys.executable).resolve(), tmp_path)
    assert reaches(Path(seccomp.__file__).resolve(), tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("80", {80}),
        ("1-3,443", {1, 2, 3, 443}),
        (" 80 , 81 - 82 ", {80, 81, 82}),
        ("65535", {65_535}),
    ],
)
def test_ports_are_numbers_and_ranges(text: str, expected: set[int]) -> None:
    assert ports.parse(text) == expected


@pytest.mark.parametrize("text", ["http", "0", "65536", "2-1", "1-", "-1", "1--2", "80,,81", "1.5"])
def test_other_texts_are_no_ports(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        ports.parse(text)


@pytest.mark.parametrize(
    ("abi", "enforced"),
    [
        (0, ()),
        (1, ("files",)),
        (3, ("files",)),
        (4, ("files", "TCP")),
        (5, ("files", "TCP")),
        (6, ("files", "TCP", "signals", "abstract sockets")),
        (7, ("files", "TCP", "signals", "abstract sockets")),
    ],
)
def test_a_later_kernel_enforces_more(
    monkeypatch: pytest.MonkeyPatch, abi: int, enforced: tuple[str, ...]
) -> None:
    monkeypatch.setattr(seccomp, "is_known", lambda: True)
    found = Confinement(abi=abi)
    assert found.enforced() == enforced
    assert (found.missing() == ()) is (abi >= 6)


def test_tcp_is_not_restricted_on_a_machine_without_a_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seccomp, "is_known", lambda: False)
    assert Confinement(abi=7).missing() == ("TCP",)


def test_the_fork_server_gets_the_same_confinement() -> None:
    confinement = Confinement(7, ("/data",), ("/a", "/b"), (), "1-9", "4")
    assert Confinement.from_json(confinement.to_json()) == confinement


def test_the_port_of_nats_is_closed(tmp_path: Path) -> None:
    config = PropellerConfig(nats_url="nats://nats.example:14222", data_dir=tmp_path)
    assert {4222, 5432, 6379, 14222} <= ports.parse(config.closed_ports)
    config = PropellerConfig(nats_url="nats://nats.example", task_closed_ports="")
    assert ports.parse(config.closed_ports) == {4222}


def test_the_configuration_does_not_open_the_blobs_of_all_projects(tmp_path: Path) -> None:
    fields = {"data_dir": tmp_path / "data", "blobs": str(tmp_path / "blobs")}
    with pytest.raises(ValueError, match=r"contains .*blobs, which no task may read"):
        PropellerConfig.model_validate({**fields, "task_readable": [tmp_path / "blobs"]})


@pytest.mark.parametrize("field", ["task_readable", "task_writable"])
def test_the_configuration_does_not_open_the_data_directory(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}\\n.* contains .*data"):
        PropellerConfig.model_validate({"data_dir": tmp_path / "data", field: [tmp_path]})
