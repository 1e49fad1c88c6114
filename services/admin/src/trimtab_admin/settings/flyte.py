"""What Flyte 1 would make of the same records: the narrowest one, whole. Pure.

Flyte 1 keeps records of projects, project-domains and workflows, and for some kinds reads fewer.
What it keeps in its configuration file stands here in the settings file and at the platform, and
where that file goes by domain, at the domain. Other records, and a record's ``unset``, it does not
have; nor what an execution or a launch plan asks for, which comes before all of this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import Level, Scope
from trimtab.settings.fold import Effective, Leaf, Record, fold
from trimtab.settings.state import Settings

Leaves = Mapping[str, Leaf]
Merge = Callable[[Sequence[Leaves], Leaves], Leaves]
"""Of the records, narrowest first, and the configuration."""


@dataclass(frozen=True)
class Rule:
    """How Flyte 1 finds the value of one kind."""

    merge: Merge
    rows: tuple[Level, ...] = (Level.PROJECT, Level.PROJECT_DOMAIN, Level.WORKFLOW)
    """Levels whose records it reads."""
    configuration: tuple[Level, ...] = (Level.SETTINGS, Level.PLATFORM)
    """Levels that stand for its configuration file."""
    native: frozenset[str] = frozenset()
    """Fields that it does not have."""


def effective(settings: Settings, kind: str, target: Scope) -> Effective:
    """As `Settings.effective`, by the rule of Flyte 1.

    Raises `NotFound`, `Unreadable`, and `Invalid` on a kind that Flyte 1 does not have.
    """
    found, rule = kinds.by_name(kind), _RULES.get(kind)
    if rule is None:
        raise Invalid("kind", kind, "a kind that Flyte 1 has: " + ", ".join(_RULES))
    records = {record.scope.level: record for record in settings.chain(kind, target)}
    rows = [_said(records[level], rule) for level in reversed(rule.rows) if level in records]
    file = fold(found, target, [records[at] for at in rule.configuration if at in records])
    configuration = {
        path: Leaf(leaf.value, leaf.scope, leaf.revision)
        for path, leaf in file.leaves.items()
        if leaf.value is not None and _field(path) not in rule.native
    }
    leaves = rule.merge([row for row in rows if row], configuration)
    return Effective(found, target, leaves)


def _said(record: Record, rule: Rule) -> Leaves:
    return {path: leaf for path, leaf in record.leaves.items() if _field(path) not in rule.native}


def _field(path: str) -> str:
    return path.partition(".")[0]


def _whole(rows: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """One record; what it leaves out has no value, whatever the configuration says."""
    return rows[0] if rows else configuration


def _over_configuration(rows: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """The one record's keys, and those of the configuration that it does not have."""
    return {**configuration, **(rows[0] if rows else {})}


def _by_field(rows: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """The narrowest record, then the project's, then the configuration, each for the fields that
    are missing still. A map or a list counts as one field, and so does a security context."""
    merged = dict(rows[0]) if rows else {}
    projects = [row for row in rows[1:] if _level(row) is Level.PROJECT]
    # Where the file says that executions are not interruptible, it says nothing.
    said = {
        path: leaf for path, leaf in configuration.items() if leaf.value or path != "interruptible"
    }
    for layer in (*projects, said):
        for field in dict.fromkeys(map(_field, layer)):
            part = {path: leaf for path, leaf in layer.items() if _field(path) == field}
            if _is_missing(field, merged) and _fills(field, part):
                merged |= part
    return merged


def _level(row: Leaves) -> Level:
    return next(iter(row.values())).scope.level


def _is_missing(field: str, merged: Leaves) -> bool:
    if field == "overwrite_cache":
        # On the wire false is the same as nothing.
        return field not in merged or not merged[field].value
    return all(_field(path) != field for path in merged)


_IDENTITIES = frozenset(
    f"security_context.run_as.{name}"
    for name in ("iam_role", "k8s_service_account", "execution_identity")
)


def _fills(field: str, part: Leaves) -> bool:
    """Whether a broader layer's field is taken where it is missing."""
    match field:
        case "security_context":
            # One without an identity is passed over, secrets and tokens and all.
            return not _IDENTITIES.isdisjoint(part)
        case "overwrite_cache":
            return bool(part[field].value)
        case _:
            return True


_RULES: Mapping[str, Rule] = {
    "task_resource": Rule(
        _whole, native=frozenset({"ceiling", "over_limit", "mirror_limits_request"})
    ),
    "cluster_resource": Rule(
        _over_configuration,
        rows=(Level.PROJECT, Level.PROJECT_DOMAIN),
        configuration=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN),
    ),
    "execution_queue": Rule(_whole, configuration=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN)),
    "execution_cluster_label": Rule(_whole),
    # It can neither be set nor is it ever read.
    "quality_of_service": Rule(_whole, rows=(), configuration=()),
    # Setting one for a project always fails.
    "plugin_override": Rule(_whole, rows=(Level.PROJECT_DOMAIN, Level.WORKFLOW), configuration=()),
    "workflow_execution_config": Rule(_by_field, native=frozenset({"execution_env_assignments"})),
    "cluster_assignment": Rule(
        _whole,
        rows=(Level.PROJECT, Level.PROJECT_DOMAIN),
        configuration=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN),
    ),
}
