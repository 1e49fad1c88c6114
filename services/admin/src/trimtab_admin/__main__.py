"""``python -m trimtab_admin``."""

import asyncio
import sys

from trimtab import service
from trimtab.errors import TrimtabError
from trimtab.settings import load
from trimtab_admin.app import build, prepare
from trimtab_admin.settings import AdminSettings


def main() -> None:
    """Ends with one sentence where the settings, the token or the database cannot be used."""
    settings = load(AdminSettings)
    try:
        asyncio.run(prepare(settings))
        app = build(settings)
    except (TrimtabError, OSError) as error:
        sys.exit(f"admin cannot start: {error}")
    service.run("admin", settings, app, stopping=app.state.stopping)


if __name__ == "__main__":
    main()
