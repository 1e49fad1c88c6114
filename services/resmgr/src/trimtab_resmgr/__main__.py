"""``python -m trimtab_resmgr``: resmgr as one process."""

import sys

from trimtab.errors import Invalid
from trimtab.runtime import service
from trimtab.runtime.config import load
from trimtab_resmgr.app import build
from trimtab_resmgr.config import ResmgrConfig


def main() -> None:
    settings = load(ResmgrConfig)
    try:
        app = build(settings)
    except Invalid as error:
        sys.exit(f"setting {error}")
    service.run("resmgr", settings, app)


if __name__ == "__main__":
    main()
