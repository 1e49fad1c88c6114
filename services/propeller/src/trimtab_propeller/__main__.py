"""``python -m trimtab_propeller``."""

import sys

from trimtab.errors import Rejected
from trimtab.runtime import service
from trimtab.runtime.config import load
from trimtab_propeller.app import build
from trimtab_propeller.config import PropellerConfig


def main() -> None:
    config = load(PropellerConfig)
    try:
        config.data_dir.joinpath("executions").mkdir(parents=True, exist_ok=True)
        app = build(config)
    except Rejected as error:
        sys.exit(f"propeller cannot use its data directory: {error}")
    except OSError as error:
        sys.exit(
            f"propeller cannot write to {error.filename}: {error.strerror}; "
            "set TRIMTAB_DATA_DIR to a directory that is writable"
        )
    service.run("propeller", config, app)


if __name__ == "__main__":
    main()
