"""The ``resourcemanager`` block, and the message with which a wrong value stops the start."""

from pathlib import Path

import pytest

from trimtab.runtime.config import load
from trimtab_resmgr.__main__ import main
from trimtab_resmgr.config import ResmgrConfig, parse_address


def exit_message(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the message of a process that does not start."""
    for name, value in variables.items():
        monkeypatch.setenv(f"TRIMTAB_{name}", value)
    with pytest.raises(SystemExit) as exit_:
        main()
    message = str(exit_.value)
    assert "\n" not in message
    return message


def test_the_default_is_noop_with_a_ceiling_of_a_thousand() -> None:
    block = ResmgrConfig().resourcemanager
    assert (block.type, block.resource_max_quota, block.redis.max_retries) == ("noop", 1000, 0)


def test_a_block_with_the_keys_of_flyte_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "resourcemanager:\n  type: redis\n  resourceMaxQuota: 100\n  redis:\n"
        "    hostPaths: ['valkey:6379']\n    hostKey: mypassword\n    maxRetries: 3\n"
    )
    monkeypatch.setenv("TRIMTAB_SETTINGS_FILE", str(file))
    block = load(ResmgrConfig).resourcemanager
    assert (block.type, block.resource_max_quota) == ("redis", 100)
    assert (block.redis.host_paths, block.redis.max_retries) == (("valkey:6379",), 3)
    assert block.redis.host_key.get_secret_value() == "mypassword"
    assert "mypassword" not in repr(block)


def test_the_block_of_flytes_documentation_is_read_verbatim(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        """\
       resourcemanager:
          type: redis
          resourceMaxQuota: 100
          redis:
            hostPaths:
              - foo
            hostKey: bar
            maxRetries: 0
"""
    )
    monkeypatch.setenv("TRIMTAB_SETTINGS_FILE", str(file))
    block = load(ResmgrConfig).resourcemanager
    assert (block.type, block.resource_max_quota) == ("redis", 100)
    assert [parse_address(path) for path in block.redis.host_paths] == [("foo", 6379)]
    assert (block.redis.host_key.get_secret_value(), block.redis.max_retries) == ("bar", 0)


def test_the_variable_of_a_key_takes_precedence_over_the_key_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "resourcemanager:\n  resourceMaxQuota: 5\n  redis:\n"
        "    hostPaths: ['old']\n    hostKey: old\n    maxRetries: 1\n"
    )
    monkeypatch.setenv("TRIMTAB_SETTINGS_FILE", str(file))
    monkeypatch.setenv("TRIMTAB_RESOURCEMANAGER__RESOURCEMAXQUOTA", "7")
    monkeypatch.setenv("TRIMTAB_RESOURCEMANAGER__REDIS__HOSTKEY", "new")
    monkeypatch.setenv("TRIMTAB_RESOURCEMANAGER__REDIS__HOSTPATHS", '["new"]')
    block = load(ResmgrConfig).resourcemanager
    assert (block.resource_max_quota, block.redis.host_paths) == (7, ("new",))
    assert (block.redis.host_key.get_secret_value(), block.redis.max_retries) == ("new", 1)


def test_a_block_of_type_noop_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("    resourcemanager:\n      type: noop\n")
    monkeypatch.setenv("TRIMTAB_SETTINGS_FILE", str(file))
    assert load(ResmgrConfig).resourcemanager.type == "noop"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ('{"type": "Redis"}', "type: 'Redis' is not valid; allowed: 'noop' or 'redis'"),
        ('{"type": "redis"}', "redis.hostPaths: [] is not valid; allowed: host:port or the path"),
        ('{"redis": {"hostPaths": ["valkey:"]}}', "'valkey:' is neither host:port nor the path"),
        ('{"redis": {"hostPaths": ["a:1", "/b"]}}', "is not reached over a unix socket"),
        ('{"resourceMaxQota": 5}', "did you mean 'resourceMaxQuota'?"),
        ('{"resourceMaxQuota": 0}', "resourceMaxQuota: 0 is not valid; allowed: at least 1"),
        ("redis", "lists and maps are given as JSON"),
    ],
)
def test_a_wrong_block_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, block: str, message: str
) -> None:
    assert message in exit_message(monkeypatch, RESOURCEMANAGER=block)


def test_a_missing_token_file_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    message = exit_message(monkeypatch, TOKEN_FILE="/no/such/file")
    assert "token_file: '/no/such/file' is not valid" in message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("valkey:6380", ("valkey", 6380)),
        ("valkey", ("valkey", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("/run/valkey.sock", ("/run/valkey.sock", 0)),
    ],
)
def test_a_host_path_is_an_address_or_a_socket(path: str, expected: tuple[str, int]) -> None:
    assert parse_address(path) == expected


@pytest.mark.parametrize("path", ["", "valkey:", ":6379", "valkey:0", "valkey:65536"])
def test_any_other_text_is_not_a_host_path(path: str) -> None:
    with pytest.raises(ValueError, match="neither host:port"):
        parse_address(path)


def test_a_secret_is_a_file_of_the_secrets_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = {
        "trimtab_nats_password": "from a file\n",
        "trimtab_resourcemanager__redis__host_key": "key",
        "trimtab_log_level": "DEBUG",
        "of_another_program": "ignored",
    }
    for name, text in secrets.items():
        (tmp_path / name).write_text(text)
    block = '{"type": "redis", "redis": {"hostPaths": ["valkey"]}}'
    monkeypatch.setenv("TRIMTAB_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_RESOURCEMANAGER", block)
    monkeypatch.setenv("TRIMTAB_LOG_LEVEL", "WARNING")
    config = load(ResmgrConfig)
    assert config.nats_password.get_secret_value() == "from a file"
    redis = config.resourcemanager.redis
    assert (redis.host_paths, redis.host_key.get_secret_value()) == (("valkey",), "key")
    assert config.log_level == "WARNING", "a variable of the environment takes precedence"


def test_a_missing_secrets_directory_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    message = exit_message(monkeypatch, SECRETS_DIR=str(tmp_path / "missing"))
    assert message.endswith("missing, which is not a directory")
