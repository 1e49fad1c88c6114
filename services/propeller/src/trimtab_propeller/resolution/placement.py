"""Select the cluster of an execution by weight, always the same one for one execution. Pure."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

from trimtab import names
from trimtab.messages.events import ClusterChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import candidates
from trimtab_propeller.resolution.candidates import Candidates
from trimtab_propeller.resolution.site import Site

_SHOWN_PROBLEMS = 3
"""The reasons of how many skipped clusters a note has."""
_MAX_PROBLEM = 200
"""Characters of such a reason."""
_HASH_BITS = 52
"""So many bits and a half are exact in a float."""


def values(request: Request, settings: Settings, site: Site) -> Iterator[ResolvedValue]:
    """Yield the cluster, the same one for all nodes, and the label that selected it.

    Raises `Refusal` and `Unreadable`.
    """
    found = candidates.of(request, settings)
    if found.label is not None:
        yield found.label
    if found.clusters:
        yield _cluster(request.execution, found, site.cluster_problems)


def select(execution: str, clusters: Sequence[ClusterChanged]) -> ClusterChanged:
    """Select one of the clusters, which have positive weights.

    This is weighted rendezvous hashing: each cluster has a score of its own for the execution, so
    that only executions of a cluster that leaves move to others, and a new one takes no more than
    its share from each.
    """
    return max(clusters, key=lambda cluster: (_score(execution, cluster), cluster.name))


def _score(execution: str, cluster: ClusterChanged) -> float:
    """Return ``weight / -log(hash)`` as its logarithm, which no weight makes infinite."""
    content = f"{execution}/{cluster.name}".encode()
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
    # Between 0 and 1, and neither of them.
    share = ((digest >> (64 - _HASH_BITS)) + 0.5) / 2**_HASH_BITS
    return math.log(cluster.weight) - math.log(-math.log(share))


def _cluster(execution: str, found: Candidates, problems: Mapping[str, str]) -> ResolvedValue:
    """Return the selected cluster. One with a problem is selected only if all have problems."""
    usable = [cluster for cluster in found.clusters if cluster.name not in problems]
    selected = select(execution, usable or found.clusters)
    notes = [_choice(found, usable or found.clusters)]
    if usable:
        notes += _skipped([each.name for each in found.clusters if each not in usable], problems)
    else:
        notes.append(f"none of them can be used now: {_shortened(problems[selected.name])}")
    source = _source(found)
    return source.model_copy(
        update={"path": "cluster", "value": selected.name, "note": "; ".join(notes)}
    )


def _source(found: Candidates) -> ResolvedValue:
    """Return the value by which the cluster could be selected."""
    engine = ResolvedValue(path="cluster", value=None, source="engine")
    only = next((each.value for each in found.requirements), engine)
    return found.label or found.any_cluster or only


def _choice(found: Candidates, usable: Sequence[ClusterChanged]) -> str:
    of = " and ".join(f"the {each.noun} {each.value.value!r}" for each in found.requirements)
    if len(found.clusters) == 1:
        return f"the only enabled cluster of {of}" if of else "the only enabled cluster"
    clusters = names.listed([each.name for each in usable])
    group = f"the clusters of {of}" if of else "every enabled cluster"
    return f"by weight from {group}: {clusters}"


def _skipped(skipped: Sequence[str], problems: Mapping[str, str]) -> Iterator[str]:
    for name in skipped[:_SHOWN_PROBLEMS]:
        yield f"skipped {name}: {_shortened(problems[name])}"
    if others := skipped[_SHOWN_PROBLEMS:]:
        yield f"skipped also {names.listed(others)}"


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _MAX_PROBLEM else f"{reason[:_MAX_PROBLEM]}…"
