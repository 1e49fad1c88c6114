"""Run resmgr as a process: ``python -m trimtab_resmgr``."""

import sys

from trimtab.errors import Invalid
from trimtab.runtime import service
from trimtab.runtime.config import load
from trimtab_resmgr.app import build
from trimtab_resmgr.config import ResmgrConfig


def main() -> None:
    config = load(ResmgrConfig)
    try:
        app = build(config)
    except Invalid as error:
        sys.exit(f"configuration {error}")
    service.run("resmgr", config, app)


if __name__ == "__main__":
    main()
