"""Generates the secrets of compose.yaml: each container mounts a volume with those that it needs.

The values are generated once and stored in a volume that no other container mounts. Each run writes
the same files, so a run may be killed at any point. It needs no capabilities.
"""

import os
import secrets
from pathlib import Path

ROOT = Path("/secrets")
DATABASE_URL = "postgresql+asyncpg://trimtab:{}@postgres/trimtab"
SERVICES = ("clusterres", "propeller", "resmgr")
"""The services with an own user of NATS, besides admin."""
FILES = {
    "nats": {"nats/password.conf": 'PASSWORD: "{}"\n', "admin/trimtab_nats_password": "{}"},
    **{
        f"nats_{service}": {
            f"nats/{service}.conf": f'{service.upper()}_PASSWORD: "{{}}"\n',
            f"{service}/trimtab_nats_password": "{}",
        }
        for service in SERVICES
    },
    "valkey": {
        "valkey/password.conf": "requirepass {}\n",
        "resmgr/trimtab_resourcemanager__redis__hostkey": "{}",
    },
    "postgres": {"postgres/password": "{}", "admin/trimtab_database_url": DATABASE_URL},
    "grafana": {"grafana/password": "{}"},
    "api_token": {"admin/api_token": "{}", "resmgr/api_token": "{}"},
}
"""The files of each secret, ``volume/name``, and their texts."""


def main() -> None:
    for secret, files in FILES.items():
        value = value_of(ROOT / "values" / secret)
        for name, text in files.items():
            write(ROOT / name, text.format(value))


def value_of(file: Path) -> str:
    if not file.exists() or not file.read_text():
        write(file, secrets.token_hex(24))
    return file.read_text()


def write(file: Path, text: str) -> None:
    """Write a file atomically. Any user of the container that mounts its volume may read it."""
    part = file.with_name(f".{file.name}")
    # A killed run may have left it, and without capabilities not even root can write to it.
    part.unlink(missing_ok=True)
    with part.open("w") as opened:
        opened.write(text)
        os.fchmod(opened.fileno(), 0o444)
        opened.flush()
        # An empty password after a power failure would not open the database.
        os.fsync(opened.fileno())
    os.replace(part, file)


if __name__ == "__main__":
    main()
