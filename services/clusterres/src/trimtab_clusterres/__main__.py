"""``python -m trimtab_clusterres``."""

from trimtab import service
from trimtab import settings as service_settings
from trimtab_clusterres.app import build
from trimtab_clusterres.settings import ClusterresSettings


def main() -> None:
    settings = service_settings.load(ClusterresSettings)
    service.run("clusterres", settings, build(settings))


if __name__ == "__main__":
    main()
