"""``python -m trimtab_resmgr``: resmgr as one process."""

import sys

from trimtab import service
from trimtab.errors import Invalid
from trimtab.settings import load
from trimtab_resmgr.app import build
from trimtab_resmgr.settings import ResmgrSettings


def main() -> None:
    settings = load(ResmgrSettings)
    try:
        app = build(settings)
    except Invalid as error:
        sys.exit(f"setting {error}")
    service.run("resmgr", settings, app)


if __name__ == "__main__":
    main()
