"""``python -m trimtab_admin``."""

import asyncio
import sys

from trimtab.errors import TrimtabError
from trimtab.runtime import service
from trimtab.runtime.config import load
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig


def main() -> None:
    """Ends with one sentence where the settings, the token or the database cannot be used."""
    settings = load(AdminConfig)
    try:
        asyncio.run(prepare(settings))
        app = build(settings)
    except (TrimtabError, OSError) as error:
        sys.exit(f"admin cannot start: {error}")
    service.run("admin", settings, app, stopping=app.state.stopping)


if __name__ == "__main__":
    main()
