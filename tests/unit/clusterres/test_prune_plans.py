"""The decision about objects that nothing renders any longer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trimtab.messages.events import PruneChanged
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.port import Entry, Inventory
from trimtab_clusterres.pruning.plans import Leftovers, Plan, identity, plan
from trimtab_clusterres.pruning.policies import PrunePolicies

NAMESPACE = "shop-development"
HOME = ObjectKey("", "Namespace", NAMESPACE)
A, B, C = (ObjectKey("", "ConfigMap", name) for name in "abc")
QUOTA = ObjectKey("", "ResourceQuota", "quota")
ROLE = ObjectKey("rbac.authorization.k8s.io", "Role", "spark")
ACCOUNT = ObjectKey("", "ServiceAccount", "default")

ORPHAN = PrunePolicies()
CONFIRM = PrunePolicies(default="confirm")
PRUNE = PrunePolicies(default="prune")

KEYS = st.sampled_from([HOME, A, B, C, QUOTA, ROLE, ACCOUNT])
ENTRIES = st.dictionaries(KEYS, st.builds(Entry, created=st.booleans(), uid=st.sampled_from("xy")))
CAUSES = st.sampled_from(["templates", "archived", "unclaimed"])
POLICY = st.sampled_from(["orphan", "confirm", "prune"])
POLICIES = st.builds(
    PrunePolicies,
    default=POLICY,
    kinds=st.dictionaries(st.sampled_from(["ConfigMap", "Role", "ServiceAccount"]), POLICY),
)


def leftovers(
    *created: ObjectKey, adopted: tuple[ObjectKey, ...] = (), **fields: object
) -> Leftovers:
    entries = {key: Entry(created=True, uid=f"u-{key.name}") for key in created}
    entries |= {key: Entry(created=False, uid=f"u-{key.name}") for key in adopted}
    made = Leftovers("east", NAMESPACE, Inventory(entries), cause="archived")
    return replace(made, **fields)  # type: ignore[arg-type]  # fields of the dataclass


def confirmation(of: Leftovers, policies: PrunePolicies = CONFIRM) -> PruneChanged:
    """Return the confirmation of the list that awaits one."""
    waiting = plan(of, policies)
    assert waiting.digest
    objects = tuple(waiting.unconfirmed.values())
    return PruneChanged(cluster="east", namespace=NAMESPACE, digest=waiting.digest, objects=objects)


def test_objects_that_are_rendered_stay() -> None:
    assert plan(leftovers(A, B, rendered={A, B}, cause="templates"), PRUNE) == Plan()


def test_by_default_everything_created_is_kept() -> None:
    decided = plan(leftovers(A, QUOTA, HOME), ORPHAN)
    assert set(decided.kept) == {A, QUOTA, HOME}
    assert (decided.delete, decided.unconfirmed, decided.digest) == ((), {}, "")


def test_the_policy_of_each_kind_decides() -> None:
    policies = PrunePolicies(kinds={"ConfigMap": "prune", "Role": "confirm"})
    decided = plan(leftovers(A, ROLE, QUOTA), policies)
    assert decided.delete == (A,)
    assert decided.unconfirmed == {ROLE: "rbac.authorization.k8s.io/Role/spark u-spark"}
    assert set(decided.kept) == {QUOTA}


def test_namespaces_and_quotas_are_deleted_only_after_a_confirmation() -> None:
    decided = plan(leftovers(A, QUOTA, HOME), PRUNE)
    assert decided.delete == (A,)
    assert set(decided.unconfirmed) == {QUOTA, HOME}


@pytest.mark.parametrize("kind", ["Namespace", "ResourceQuota"])
def test_a_configuration_that_prunes_them_at_once_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"kinds.{kind} is 'prune'; allowed: orphan, confirm"):
        PrunePolicies(kinds={kind: "prune"})


def test_a_confirmed_list_is_deleted() -> None:
    archived = leftovers(A, QUOTA, HOME)
    decided = plan(archived, CONFIRM, confirmation(archived))
    assert set(decided.delete) == {A, QUOTA, HOME}
    assert (decided.unconfirmed, decided.digest) == ({}, "")


def test_the_rest_of_a_confirmed_list_is_deleted_after_a_part_was() -> None:
    confirmed = confirmation(leftovers(A, B, HOME))
    assert set(plan(leftovers(B, HOME), CONFIRM, confirmed).delete) == {B, HOME}


@pytest.mark.parametrize(
    "other",
    [
        leftovers(A, B, C),
        leftovers(A, B, rendered={B}),
        leftovers(A, B, occasion="archived again"),
        leftovers(A, B, cluster="west"),
        Leftovers("east", NAMESPACE, Inventory({A: Entry(True, "other"), B: Entry(True, "u-b")})),
    ],
    ids=["one more", "one less", "another time", "another cluster", "another uid"],
)
def test_a_confirmation_is_void_for_any_other_list(other: Leftovers) -> None:
    decided = plan(other, CONFIRM, confirmation(leftovers(A, B)))
    assert decided.delete == ()
    assert decided.digest


def test_a_confirmation_with_more_objects_than_its_digest_names_is_void() -> None:
    more = confirmation(leftovers(A)).model_copy(
        update={"objects": ("ConfigMap/a u-a", "ConfigMap/b u-b")}
    )
    assert plan(leftovers(A, B), CONFIRM, more).delete == ()


def test_the_digest_of_a_list_that_a_status_has_no_room_for_confirms_it() -> None:
    archived = leftovers(A, B)
    short = confirmation(archived).model_copy(update={"objects": ("ConfigMap/a u-a",)})
    assert set(plan(archived, CONFIRM, short).delete) == {A, B}


def test_a_template_that_was_removed_leaves_objects_to_be_pruned() -> None:
    removed = leftovers(A, B, C, rendered={A, B}, cause="templates")
    assert plan(removed, PRUNE).delete == (C,)


def test_templates_that_render_less_than_half_need_a_confirmation_whatever_the_policy() -> None:
    shrunken = leftovers(A, B, C, rendered={A}, cause="templates")
    decided = plan(shrunken, PRUNE)
    assert (decided.delete, set(decided.unconfirmed), decided.is_suspect) == ((), {B, C}, True)
    assert set(plan(shrunken, PRUNE, confirmation(shrunken, PRUNE)).delete) == {B, C}
    assert set(plan(shrunken, ORPHAN).unconfirmed) == set()


def test_a_namespace_that_no_project_has_is_only_reported() -> None:
    vanished = leftovers(A, HOME, adopted=(ACCOUNT,), cause="unclaimed")
    decided = plan(vanished, PRUNE, confirmation(leftovers(A, HOME)))
    assert set(decided.kept) == {A, HOME, ACCOUNT}
    assert (decided.delete, decided.release, decided.digest) == ((), (), "")
    assert "without being archived" in decided.kept[A]


def test_adopted_objects_are_released_and_never_listed() -> None:
    decided = plan(leftovers(A, adopted=(ACCOUNT,)), CONFIRM)
    assert decided.release == (ACCOUNT,)
    assert set(decided.unconfirmed) == {A}


def test_an_adopted_namespace_is_the_last_to_be_released() -> None:
    waiting = leftovers(A, adopted=(HOME,))
    assert plan(waiting, CONFIRM).release == ()
    assert plan(waiting, CONFIRM, confirmation(waiting)).release == (HOME,)


def test_a_namespace_is_kept_while_objects_in_it_are_kept_or_rendered() -> None:
    policies = PrunePolicies(default="confirm", kinds={"ConfigMap": "orphan"})
    decided = plan(leftovers(A, HOME), policies)
    assert (set(decided.kept), decided.unconfirmed) == ({A, HOME}, {})
    rendered = leftovers(A, B, HOME, rendered={A, B}, cause="templates")
    assert set(plan(rendered, CONFIRM).kept) == {HOME}


def test_the_digest_does_not_depend_on_the_order_of_the_objects() -> None:
    assert plan(leftovers(A, B), CONFIRM).digest == plan(leftovers(B, A), CONFIRM).digest


@given(ENTRIES, st.sets(KEYS), CAUSES, POLICIES, st.booleans())
def test_nothing_is_deleted_that_was_not_created_here_or_without_a_policy(
    entries: dict[ObjectKey, Entry],
    rendered: set[ObjectKey],
    cause: str,
    policies: PrunePolicies,
    confirmed: bool,
) -> None:
    found = leftovers(rendered=rendered, cause=cause, inventory=Inventory(entries))
    before = plan(found, policies)
    words = confirmation(found, policies) if before.digest and confirmed else None
    decided = plan(found, policies, words)
    for key in decided.delete:
        assert entries[key].created
        assert key not in rendered
        assert cause != "unclaimed"
        assert policies.of(key.kind) == "prune" or key in before.unconfirmed
        assert policies.of(key.kind) != "orphan"
        assert words is not None or not before.is_suspect
    assert not any(entries[key].created for key in decided.release)
    parts = [*decided.delete, *decided.release, *decided.kept, *decided.unconfirmed]
    assert len(parts) == len(set(parts))
    left_out = entries.keys() - rendered - set(parts)
    assert left_out <= {HOME}, "each leftover object is reported; an adopted namespace may wait"
    if HOME in decided.delete:
        assert not decided.kept
        assert not decided.unconfirmed
        assert not rendered


def test_an_identity_names_the_group_and_the_uid() -> None:
    assert identity(A, Entry(created=True)) == "ConfigMap/a"
    assert identity(ROLE, Entry(created=True, uid="u")) == "rbac.authorization.k8s.io/Role/spark u"
