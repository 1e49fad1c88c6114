"""``python -m trimtab_resmgr``: resmgr as one process."""

import gc
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
    _spare_the_collector()
    service.run("resmgr", settings, app)


def _spare_the_collector() -> None:
    """Whatever is there before the first request stays, and what a request leaves has no cycles.

    Walking it all again and again costs a tenth of the time of each request, and at times stops
    everybody for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


if __name__ == "__main__":
    main()
