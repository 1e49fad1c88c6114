"""``python -m trimtab_propeller``."""

from trimtab import service
from trimtab.settings import load
from trimtab_propeller.app import build
from trimtab_propeller.settings import PropellerSettings


def main() -> None:
    settings = load(PropellerSettings)
    service.run("propeller", settings, build(settings))


if __name__ == "__main__":
    main()
