"""Applies the manifests of a namespace under the drift policies of its cluster and objects."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres import drift, metrics
from trimtab_clusterres.clusters.port import Cluster, Difference, Inventory, Result
from trimtab_clusterres.drift import Policy, Repairs
from trimtab_clusterres.queue import Priority, WorkQueue

log = logging.getLogger(__name__)

_UP_TO_DATE = ("applied", "unchanged")


class _Applied(NamedTuple):
    digest: str
    repairs: Repairs


class Applier:
    """Applies to one cluster. A change of the settings applies at once under each policy.

    What it remembers of each object only saves work and delays repairs: a new process starts
    without it.
    """

    def __init__(
        self, name: str, cluster: Cluster, queue: WorkQueue, policy: Policy = "enforce"
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._queue = queue
        self._policy = policy
        self._applied: dict[str, dict[ObjectKey, _Applied]] = {}
        # Digests of the objects of namespaces in which all are as applied.
        self._complete: dict[str, dict[ObjectKey, str]] = {}
        self._waking: set[tuple[str, ObjectKey]] = set()

    def suspect(self, namespace: str) -> None:
        """Verify the objects at the next apply, because they may have changed on the cluster."""
        self._complete.pop(namespace, None)

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, verify: bool = True
    ) -> tuple[Result, ...]:
        """Bring the objects up to date, and return what happened to each, in their order.

        Without ``verify``, an object is not sent where the same manifest was applied last, and it
        is not suspected.
        Raises `trimtab.errors.Invalid` where an object's policy is none, and what
        `Cluster.apply` raises.
        """
        digests = {each.key: each.digest for each in manifests}
        known = self._applied.get(namespace, {})
        self._applied[namespace] = {key: known[key] for key in known.keys() & digests.keys()}
        complete = {} if verify else self._complete.get(namespace, {})
        self._complete.pop(namespace, None)
        same = {key for key, digest in digests.items() if complete.get(key) == digest}
        sent = [each for each in manifests if each.key not in same]
        results = {key: Result(key, "unchanged") for key in same}
        results.update((result.key, result) for result in await self._apply(namespace, sent))
        if all(result.outcome in _UP_TO_DATE for result in results.values()):
            self._complete[namespace] = digests
        return tuple(results[each.key] for each in manifests if each.key in results)

    async def _apply(self, namespace: str, manifests: Sequence[Manifest]) -> list[Result]:
        policies = {each.key: drift.policy_of(each, self._policy) for each in manifests}
        enforced = [each for each in manifests if policies[each.key] == "enforce"]
        others = [each for each in manifests if policies[each.key] != "enforce"]
        results: dict[ObjectKey, Result] = {}
        # The namespace comes first, whatever its policy.
        for part in sorted((enforced, others), key=lambda part: not any(map(_is_namespace, part))):
            if not part:
                continue
            work = self._enforce if part is enforced else self._apply_changes
            for result in await work(namespace, part):
                if result.outcome == "drifted" and policies[result.key] == "off":
                    result = Result(result.key, "unchanged")
                results[result.key] = result
            if _has_no_namespace(results.values()):
                break
        return list(results.values())

    async def inventory(self, namespace: str) -> Inventory:
        """Return what was applied, as the cluster records it. Raises as `Cluster.read`."""
        return await self._cluster.read(namespace)

    async def compare(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> tuple[Difference, ...]:
        """Return the objects that are not as the manifests describe them, under any policy.

        Raises `trimtab.errors.Invalid` where an object's policy is none, and what
        `Cluster.compare` raises.
        """
        applied = [
            each if drift.policy_of(each, self._policy) == "enforce" else drift.marked(each)
            for each in manifests
        ]
        return await self._cluster.compare(namespace, applied)

    def forget(self, namespace: str) -> None:
        """Remove what is remembered of a namespace that is not made any longer."""
        self._applied.pop(namespace, None)
        self._complete.pop(namespace, None)

    async def _enforce(self, namespace: str, manifests: Sequence[Manifest]) -> list[Result]:
        now = asyncio.get_running_loop().time()
        held = {each.key: each for each in manifests if self._is_held(namespace, each, now)}
        differences = await self._differences(namespace, list(held.values())) if held else {}
        for key, difference in differences.items():
            if key.kind == "Namespace" and difference.live is None:
                del held[key]  # without it, nothing else can be applied
        free = [each for each in manifests if each.key not in held]
        results = list(await self._cluster.apply(namespace, free, repair=True)) if free else []
        self._remember(namespace, free, results)
        return results + [self._held(namespace, key, differences.get(key)) for key in held]

    def _is_held(self, namespace: str, manifest: Manifest, now: float) -> bool:
        """Whether the object has to wait for its next repair; not where the settings changed."""
        before = self._applied.get(namespace, {}).get(manifest.key)
        return before is not None and now < before.repairs.next and before.digest == manifest.digest

    def _held(self, namespace: str, key: ObjectKey, difference: Difference | None) -> Result:
        if difference is None:
            return Result(key, "unchanged")
        repairs = self._applied[namespace][key].repairs
        loop = asyncio.get_running_loop()
        seconds = max(0.0, repairs.next - loop.time())
        if (namespace, key) not in self._waking:
            self._waking.add((namespace, key))
            loop.call_later(seconds, self._wake, namespace, key)
        text = drift.description(difference)
        times = f"repaired {repairs.count} times in a row, the next repair is in {seconds:.0f} s"
        return Result(key, "drifted", f"{text}; {times}")

    def _wake(self, namespace: str, key: ObjectKey) -> None:
        self._waking.discard((namespace, key))
        self._queue.mark([namespace], priority=Priority.RETRY, verify=True)

    async def _apply_changes(self, namespace: str, manifests: Sequence[Manifest]) -> list[Result]:
        """Apply only what the settings changed, and report the rest as drifted."""
        marked = [drift.marked(each) for each in manifests]
        differences = await self._differences(namespace, marked)
        created = await self._created(namespace, differences.values())
        results: list[Result] = []
        changed: list[Manifest] = []
        for each in marked:
            difference = differences.get(each.key)
            if difference is None:
                results.append(Result(each.key, "unchanged"))
            elif self._is_drift(namespace, each, difference, created):
                results.append(Result(each.key, "drifted", drift.description(difference)))
            else:
                changed.append(each)
        if changed:
            results += await self._apply_around(namespace, changed, differences)
        self._remember(namespace, marked, results)
        return results

    async def _apply_around(
        self,
        namespace: str,
        manifests: Sequence[Manifest],
        differences: Mapping[ObjectKey, Difference],
    ) -> list[Result]:
        """Apply what no other manager has set."""
        fields = {each.key: drift.fields_of_others(differences[each.key]) for each in manifests}
        own = [drift.without(each, fields[each.key]) for each in manifests]
        results = []
        for result in await self._cluster.apply(namespace, own, repair=False):
            left = fields.get(result.key)
            if left and result.outcome in _UP_TO_DATE:
                text = drift.description(differences[result.key], left)
                result = replace(result, outcome="drifted", message=text)
            results.append(result)
        return results

    def _is_drift(
        self,
        namespace: str,
        manifest: Manifest,
        difference: Difference,
        created: Collection[ObjectKey],
    ) -> bool:
        """Whether the settings describe the object as they did when it was applied last."""
        if difference.live is not None:
            return drift.is_applied(manifest, difference.live)
        before = self._applied.get(namespace, {}).get(manifest.key)
        if before is None:
            return manifest.key in created
        return before.digest == manifest.digest

    async def _created(
        self, namespace: str, differences: Iterable[Difference]
    ) -> Collection[ObjectKey]:
        """Return the objects that exist according to the inventory, where one does not."""
        if all(each.live is not None for each in differences):
            return ()
        entries = (await self._cluster.read(namespace)).entries
        return {key for key, entry in entries.items() if entry.uid}

    async def _differences(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> dict[ObjectKey, Difference]:
        return {each.key: each for each in await self._cluster.compare(namespace, manifests)}

    def _remember(
        self, namespace: str, manifests: Iterable[Manifest], results: Iterable[Result]
    ) -> None:
        now = asyncio.get_running_loop().time()
        known = self._applied.setdefault(namespace, {})
        digests = {each.key: each.digest for each in manifests}
        for key, outcome in ((result.key, result.outcome) for result in results):
            if outcome not in (*_UP_TO_DATE, "drifted") or key not in digests:
                continue
            before = known.get(key)
            repairs = before.repairs if before and before.digest == digests[key] else None
            if repairs is None:
                repairs = Repairs()
            elif outcome == "applied":
                repairs = repairs.repaired(now)
                self._report_repair(namespace, key)
            known[key] = _Applied(digests[key], repairs)

    def _report_repair(self, namespace: str, key: ObjectKey) -> None:
        metrics.count_repair(self._name)
        fields = {"cluster": self._name, "namespace": namespace, "object": str(key)}
        log.info("object.repaired", extra=fields)


def _is_namespace(manifest: Manifest) -> bool:
    return manifest.kind == "Namespace"


def _has_no_namespace(results: Iterable[Result]) -> bool:
    """Whether the namespace failed, so that nothing can be made in it."""
    return any(one.outcome == "failed" and one.key.kind == "Namespace" for one in results)
