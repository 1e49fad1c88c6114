"""``python -m trimtab_clusterres``."""

from trimtab.runtime import config, service
from trimtab_clusterres.app import build
from trimtab_clusterres.config import ClusterresConfig


def main() -> None:
    loaded = config.load(ClusterresConfig)
    service.run("clusterres", loaded, build(loaded))


if __name__ == "__main__":
    main()
