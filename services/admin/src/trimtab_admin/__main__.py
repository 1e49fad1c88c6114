"""The entry point of admin: ``python -m trimtab_admin``, or ``… migrate`` for its schema alone."""

import argparse
import asyncio
import signal
import sys
from functools import partial

from trimtab.errors import TrimtabError
from trimtab.runtime import service, telemetry
from trimtab.runtime.config import load
from trimtab_admin.app import build, migrate, prepare, when_available
from trimtab_admin.config import AdminConfig


def main() -> None:
    """Run admin. Exit with one sentence where configuration, token file or database is unusable."""
    parser = argparse.ArgumentParser("trimtab-admin", description="Run admin until SIGTERM.")
    parser.add_argument(
        "command", nargs="?", choices=["migrate"], help="migrate the database, and exit"
    )
    command = parser.parse_args().command
    config = load(AdminConfig)
    telemetry.set_up_logging(config.log_level)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    try:
        if command == "migrate":
            asyncio.run(when_available(partial(migrate, config)))
            return
        asyncio.run(when_available(partial(prepare, config)))
        app = build(config)
    except (TrimtabError, OSError) as error:
        sys.exit(f"admin cannot start: {error}")
    service.run("admin", config, app, stopping=app.state.stopping, reuse_port=config.reuse_port)


if __name__ == "__main__":
    main()
