"""From the manifests of a namespace to the objects that are sent."""

from collections.abc import Sequence

from trimtab.errors import Invalid, Unavailable
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.applying import Item
from trimtab_clusterres.clusters.kubernetes.discovery import Discovery, UnknownKind
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.records import NAMESPACE
from trimtab_clusterres.clusters.port import ApiKind, Result


def check_names(manifests: Sequence[Manifest]) -> None:
    """Raise `Invalid` on a name that cannot be the last segment of a path."""
    for manifest in manifests:
        name = manifest.name
        if not objects.is_path_segment(name):
            raise Invalid(f"name of {manifest.kind}", name, "a name without slashes and %")


async def place(
    discovery: Discovery, namespace: str, manifests: Sequence[Manifest]
) -> tuple[list[Item], list[Result]]:
    """Return the objects to be applied, the Namespace first, and those that cannot be."""
    items: list[Item] = []
    failed: list[Result] = []
    for manifest in manifests:
        try:
            item = await _placed(discovery, namespace, manifest)
        except UnknownKind as unknown:
            failed.append(Result(manifest.key, "failed", str(unknown)))
            continue
        except Unavailable as unavailable:
            if "/" not in manifest.api_version:
                raise
            # A server behind the API server may be away, which serves this group alone.
            failed.append(Result(manifest.key, "failed", str(unavailable)))
            continue
        if item.kind == NAMESPACE and manifest.name != namespace:
            text = f"the template makes another namespace than its own, {namespace}"
            failed.append(Result(manifest.key, "failed", text))
        else:
            items.append(item)
    return sorted(items, key=lambda item: item.kind != NAMESPACE), failed


async def _placed(discovery: Discovery, namespace: str, manifest: Manifest) -> Item:
    kind = await discovery.kind(ApiKind(manifest.api_version, manifest.kind))
    body: Object
    if kind.namespaced:
        body = manifest.placed(namespace).body
    else:
        kept = {k: v for k, v in objects.metadata(manifest.body).items() if k != "namespace"}
        body = manifest.body | {"metadata": kept}
        if kind != NAMESPACE:
            body = objects.with_annotation(body, objects.OWNER, namespace)
    where = namespace if kind.namespaced else ""
    return Item(manifest.key, kind, where, body, objects.content_digest(body))
