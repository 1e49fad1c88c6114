"""Secrets of a task are found by name, in its own project and domain or where all may read."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.propeller.executor_contract import attempt
from trimtab.kinds.workflow_execution_config import Secret
from trimtab_propeller.executors import task_secrets
from trimtab_propeller.executors.port import AttemptRejected

VALUE = "hunter2-é"


def write(path: Path, content: str | bytes = VALUE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def found(directory: Path, *secrets: Secret, **where: Any) -> dict[str, str]:
    own = attempt("t").model_copy(
        update={"project": "shop", "domain": "development", "secrets": secrets, **where}
    )
    return task_secrets.variables(directory, own)


def secret(group: str = "db", key: str | None = "password", **more: Any) -> Secret:
    return Secret(group=group, key=key, **more)


def rejection(directory: Path, *secrets: Secret, **where: Any) -> str:
    with pytest.raises(AttemptRejected) as rejected:
        found(directory, *secrets, **where)
    assert rejected.value.__cause__ is None
    return str(rejected.value)


def test_a_secret_is_a_variable_that_is_named_as_in_flyte(tmp_path: Path) -> None:
    own = tmp_path / "shop" / "development"
    write(own / "db" / "password", f"{VALUE}\n")
    write(own / "db" / "v2" / "user-name", "ann")
    assert found(
        tmp_path,
        secret(mount_requirement="ENV_VAR"),
        secret(key="user-name", group_version="v2", mount_requirement="ANY"),
    ) == {"_FSEC_DB_PASSWORD": VALUE, "_FSEC_DB_V2_USER-NAME": "ann"}


def test_a_secret_is_also_the_variable_that_it_names(tmp_path: Path) -> None:
    write(tmp_path / "_shared" / "db" / "password")
    write(tmp_path / "_shared" / "db" / "user", "ann")
    assert found(tmp_path, secret(env_var="PASSWORD")) == {
        "_FSEC_DB_PASSWORD": VALUE,
        "PASSWORD": VALUE,
    }
    message = rejection(tmp_path, secret(env_var="A"), secret(key="user", env_var="A"))
    assert message == "two different secrets would be the variable A"


def test_a_secret_of_the_project_and_domain_wins_over_a_shared_one(tmp_path: Path) -> None:
    write(tmp_path / "_shared" / "db" / "password", "shared")
    write(tmp_path / "shop" / "development" / "db" / "password", "own")
    assert found(tmp_path, secret())["_FSEC_DB_PASSWORD"] == "own"
    elsewhere = found(tmp_path, secret(), domain="staging")
    assert elsewhere["_FSEC_DB_PASSWORD"] == "shared"


def test_a_missing_secret_is_rejected_by_its_name(tmp_path: Path) -> None:
    assert rejection(tmp_path, secret()) == (
        "secret 'db/password' exists neither for project 'shop' in 'development' nor for all "
        "projects"
    )


@pytest.mark.parametrize(
    ("group", "key"),
    [
        ("..", "password"),
        ("../../lab/development/db", "password"),
        ("db", "../../../../lab/development/db/password"),
        ("/etc", "passwd"),
        (".", "x"),
        ("db", "."),
        ("-", "x"),
    ],
)
def test_no_name_leads_out_of_the_project(tmp_path: Path, group: str, key: str) -> None:
    write(tmp_path / "lab" / "development" / "db" / "password")
    write(tmp_path / "shop" / "development" / "x", "x")
    assert "is not valid; allowed: letters" in rejection(tmp_path, secret(group, key))


def test_a_name_of_a_project_leads_nowhere_else_either(tmp_path: Path) -> None:
    write(tmp_path / "lab" / "development" / "db" / "password")
    for project in ("", "..", "shop/../lab"):
        assert "is not valid" in rejection(tmp_path, secret(), project=project)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (VALUE.encode() + b"\xff", "is not text in UTF-8"),
        (VALUE.encode() + b"\0", "has a zero byte"),
        (VALUE.encode() * task_secrets.MAX_BYTES, "has more than 65536 bytes"),
    ],
)
def test_an_unusable_value_is_rejected_without_it(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    write(tmp_path / "_shared" / "db" / "password", content)
    message = rejection(tmp_path, secret())
    assert message.startswith(f"secret 'db/password' {reason}")
    assert "hunter2" not in message


def test_an_unreadable_file_is_rejected_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    write(tmp_path / "_shared" / "db" / "password")
    monkeypatch.setattr(Path, "open", refuse)
    assert rejection(tmp_path, secret()) == "secret 'db/password' cannot be read: Permission denied"


def test_what_is_no_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "shop" / "development" / "db" / "password").mkdir(parents=True)
    os.mkfifo(tmp_path / "shop" / "development" / "db" / "pipe")
    for key in ("password", "pipe"):
        assert "exists neither" in rejection(tmp_path, secret(key=key))


def test_two_secrets_are_never_the_same_variable(tmp_path: Path) -> None:
    write(tmp_path / "_shared" / "a_b" / "c")
    write(tmp_path / "_shared" / "a" / "b_c")
    assert found(tmp_path, secret("a_b", "c"), secret("a_b", "c")) == {"_FSEC_A_B_C": VALUE}
    message = rejection(tmp_path, secret("a_b", "c"), secret("a", "b_c"))
    assert message == "two different secrets would be the variable _FSEC_A_B_C"


def test_more_than_all_variables_can_hold_is_rejected(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "_shared" / "db" / f"k{number}", "x" * task_secrets.MAX_BYTES)
    message = rejection(tmp_path, *(secret(key=f"k{number}") for number in range(5)))
    assert message == "all secrets have 327680 bytes; at most 262144 may be"


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        (secret(key=None), "secret 'db' has no key"),
        (secret(mount_requirement="FILE"), "secret 'db/password' cannot be a file here"),
    ],
)
def test_what_only_a_mount_can_give_is_rejected(tmp_path: Path, named: Secret, reason: str) -> None:
    write(tmp_path / "_shared" / "db" / "password")
    assert rejection(tmp_path, named).startswith(reason)
