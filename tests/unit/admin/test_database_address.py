"""The address of the database, as the status shows it."""

import pytest

from trimtab_admin.storage.database import server_of, sessions_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql+asyncpg://me:hidden@db.example:5433/settings?password=hidden",
            "postgresql://db.example:5433/settings",
        ),
        ("sqlite+aiosqlite:////data/admin.db", "sqlite:////data/admin.db"),
    ],
)
def test_the_address_has_neither_user_nor_password(url: str, shown: str) -> None:
    address, version = server_of(sessions_of(url))
    assert address == shown
    assert not version or url.startswith("sqlite")
