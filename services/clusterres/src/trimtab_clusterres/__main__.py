"""``python -m trimtab_clusterres``."""

from trimtab.runtime import config as service_settings
from trimtab.runtime import service
from trimtab_clusterres.app import build
from trimtab_clusterres.config import ClusterresConfig


def main() -> None:
    settings = service_settings.load(ClusterresConfig)
    service.run("clusterres", settings, build(settings))


if __name__ == "__main__":
    main()
