"""The entry point of admin: ``python -m trimtab_admin``."""

import asyncio
import sys

from trimtab.errors import TrimtabError
from trimtab.runtime import service
from trimtab.runtime.config import load
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig


def main() -> None:
    """Run admin. Exit with one sentence where configuration, token file or database is unusable."""
    config = load(AdminConfig)
    try:
        asyncio.run(prepare(config))
        app = build(config)
    except (TrimtabError, OSError) as error:
        sys.exit(f"admin cannot start: {error}")
    service.run("admin", config, app, stopping=app.state.stopping)


if __name__ == "__main__":
    main()
