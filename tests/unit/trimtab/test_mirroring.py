"""Flyte's rule over the mirrored rows gives Trimtab's values, compared with a model of Flyte.

The model shares no code with the product: it stores and reads rows as `spec` describes flyteadmin.
"""

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes
from google.protobuf import json_format

from trimtab import kinds
from trimtab.flyte.messages import to_message
from trimtab.flyte.mirroring import (
    Delete,
    Image,
    Register,
    Update,
    UpdateProject,
    image,
    mirrored_kinds,
    operations,
    project_operations,
    unmirrored,
)
from trimtab.flyte.rows import FlyteProject
from trimtab.kinds import Kind
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.settings.state import Settings

PROJECTS = ("shop", "mall")
DOMAINS = ("development", "production")
WORKFLOWS = ("price", "train")
UNKNOWN = "no-such-workflow"
SCOPES = [
    SETTINGS_FILE,
    PLATFORM,
    *(Scope(domain) for domain in DOMAINS),
    *(Scope(project=project) for project in PROJECTS),
    *(Scope(domain, project) for domain in DOMAINS for project in PROJECTS),
    *(Scope(d, p, w) for d in DOMAINS for p in PROJECTS for w in WORKFLOWS),
    *(Scope(d, p, w, "nightly") for d in DOMAINS for p in PROJECTS for w in WORKFLOWS),
]
TREES = 12
Values = dict[str, Any]
"""Values by path, as Trimtab names them."""
Key = tuple[str, str, str]
"""A project, a domain and a workflow; empty parts are not set."""

FIELDS: Mapping[str, Mapping[str, list[Any]]] = {
    "task_resource": {
        "defaults.cpu": ["1", "2"],
        "limits.cpu": ["4", "8"],
        "limits.gpu": ["0", "2"],
        "over_limit": ["clamp"],
    },
    "cluster_resource": {"attributes.quota": ["1", "2"], "attributes.team": ["a", "b"]},
    "execution_queue": {"tags": [["gpu"], ["batch", "gpu"]]},
    "execution_cluster_label": {"value": ["big", "small"], "any": [True]},
    "plugin_override": {
        "overrides.spark": [{"plugin_id": ["a"]}, {"plugin_id": ["a", "b"]}],
        "overrides.ray": [{"plugin_id": ["c"], "missing_plugin_behavior": "USE_DEFAULT"}],
        "overrides.mpi": [{"plugin_id": ["d"]}],
    },
    "workflow_execution_config": {
        "max_parallelism": [5, 10],
        "labels.team": ["a", "{{ project }}", "{{ execution }}"],
        "labels.tier": ["b"],
        "envs.LOG": ["debug", "{{ workflow }}"],
        "interruptible": [True, False],
        "overwrite_cache": [True, False],
        "security_context.run_as.k8s_service_account": ["robot", "other"],
        "security_context.secrets": [[{"group": "g"}]],
        "raw_output_data_config.output_location_prefix": ["s3://a", "s3://b"],
        "execution_env_assignments": [[{"execution_env": {"name": "n", "type": "t"}}]],
    },
    "cluster_assignment": {"cluster_pool_name": ["one", "two"]},
}
ALTERNATIVES = {"value": "any", "any": "value"}
OF_DOMAINS = {"cluster_resource", "execution_queue", "cluster_assignment"}
"""Kinds for which a domain's record stands for the configuration of Flyte too."""
READS_WORKFLOWS = FIELDS.keys() - {"cluster_resource", "cluster_assignment"}


class Flyte:
    """A model of flyteadmin's rows of one kind, in their stored form."""

    def __init__(self, kind: str, configuration: Mapping[str, Values]) -> None:
        self.kind = kind
        self.configuration = configuration
        """By domain."""
        self.rows: dict[Key, tuple[int, MatchingAttributes]] = {}
        self._ids = 0

    def update(self, key: Key, message: MatchingAttributes) -> None:
        project, domain, workflow = key
        if self.kind != "plugin_override":
            self.rows[key] = (self.rows.get(key, (self._next(), None))[0], message)
            return
        assert domain, "Flyte refuses plugin overrides of projects"
        # Only the parts that are not empty are compared, so that a workflow's row may be found.
        found = [
            (id, each)
            for each, (id, _) in self.rows.items()
            if each[:2] == (project, domain) and workflow in ("", each[2])
        ]
        id, key = min(found, default=(self._next(), key))
        merged = dict[str, Any]()
        stored = self.rows[key][1] if key in self.rows else MatchingAttributes()
        for one in (stored, message):
            merged |= {entry.task_type: entry for entry in one.plugin_overrides.overrides}
        result = MatchingAttributes()
        result.plugin_overrides.overrides.extend(reversed(merged.values()))
        self.rows[key] = (id, result)

    def delete(self, key: Key) -> None:
        for each in list(self.rows):
            if all(mine in ("", theirs) for mine, theirs in zip(key, each, strict=True)):
                del self.rows[each]

    def read(self, key: Key) -> Values:
        """Return what an execution of the workflow reads; values that count as not set are out."""
        project, domain, workflow = key
        keys = [(project, domain, workflow), (project, domain, ""), (project, "", "")]
        if self.kind not in READS_WORKFLOWS:
            keys = keys[1:]
        found = [values_of(self.rows[each][1]) for each in keys if each in self.rows]
        configured = self.configuration[domain]
        match self.kind:
            case "task_resource" | "cluster_assignment" | "plugin_override":
                return found[0] if found else configured
            case "execution_queue" | "execution_cluster_label":
                return (found[0] if found else {}) or configured
            case "cluster_resource":
                return {**configured, **(found[0] if found else {})}
        layers = found[:1]
        if (project, "", "") in self.rows:
            layers.append(values_of(self.rows[(project, "", "")][1]))
        return merge_configs([*layers, configured])

    def _next(self) -> int:
        self._ids += 1
        return self._ids


def merge_configs(layers: list[Values]) -> Values:
    """Return execution configs by Flyte's rule, the highest layer first."""
    merged: Values = {}
    for number, layer in enumerate(layers):
        for field in {path.partition(".")[0] for path in layer}:
            part = {path: v for path, v in layer.items() if path.partition(".")[0] == field}
            is_last = number == len(layers) - 1
            if any(path.partition(".")[0] == field for path in merged):
                continue
            if field == "security_context" and not any(".run_as." in path for path in part):
                continue
            if field == "interruptible" and is_last and not part[field]:
                continue
            merged |= part
    return merged


def values_of(message: MatchingAttributes) -> Values:
    """Return the values of a message, without those that Flyte reads as not set."""
    data = json_format.MessageToDict(message, preserving_proto_field_name=True)
    ((target, fields),) = data.items()
    match target:
        case "task_resource_attributes":
            return {
                f"{group}.{name}": value
                for group, specs in fields.items()
                for name, value in specs.items()
                if value != "0"
            }
        case "cluster_resource_attributes":
            return prefixed("attributes", fields.get("attributes", {}))
        case "plugin_overrides":
            entries = {entry.pop("task_type"): entry for entry in fields.get("overrides", [])}
            return prefixed("overrides", entries)
        case "workflow_execution_config":
            return values_of_config(fields)
    return dict(fields)


def values_of_config(fields: Values) -> Values:
    found: Values = {}
    for name, value in fields.items():
        match name:
            case "labels" | "annotations":
                found |= prefixed(name, value.get("values", {}))
            case "envs":
                found |= prefixed(name, {each["key"]: each["value"] for each in value["values"]})
            case "security_context":
                run_as = value.get("run_as", {})
                found |= prefixed("security_context.run_as", run_as)
                if "secrets" in value:
                    found["security_context.secrets"] = value["secrets"]
            case "raw_output_data_config":
                found |= prefixed(name, value)
            case _:
                found[name] = value
    return found


def prefixed(prefix: str, values: Mapping[str, Any]) -> Values:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def random_settings(kind: str, draw: random.Random) -> Settings:
    settings = Settings()
    for revision, scope in enumerate(SCOPES, 1):
        if scope.level in (*kinds.by_name(kind).levels, Level.SETTINGS) and draw.random() < 0.4:
            document = random_document(kind, draw)
            settings.apply(RecordChanged.at(scope, kind, document), revision)
    assert not settings.unreadable.get(kind)
    return settings


def random_document(kind: str, draw: random.Random) -> Values:
    flat: Values = {}
    unset: list[str] = []
    for path, values in FIELDS[kind].items():
        choice = draw.random()
        if ALTERNATIVES.get(path) in flat:
            continue
        if choice < 0.4:
            flat[path] = draw.choice(values)
        elif choice < 0.6:
            unset.append(path)
    found = kinds.by_name(kind)
    if unset and draw.random() < 0.3:
        branch = unset[0].partition(".")[0]
        if not any(path.startswith(branch) for path in flat):
            unset = [branch, *(path for path in unset if not path.startswith(branch))]
    unset = [path for path in unset if ALTERNATIVES.get(path) not in flat]
    return found.schema.nest(flat) | ({"unset": unset} if unset else {})


def configurations(
    settings: Settings, kind: str, draw: random.Random
) -> Iterator[dict[str, Values]]:
    """Yield configurations of Flyte: all that Trimtab's broad records set, none, and some."""
    native = kinds.by_name(kind).flyte.native_fields  # type: ignore[union-attr]
    full = {}
    for domain in DOMAINS:
        scope = Scope(domain) if kind in OF_DOMAINS else PLATFORM
        flat = {} if kind == "plugin_override" else settings.effective(kind, scope).flat
        full[domain] = {
            path: value
            for path, value in flat.items()
            if path not in native
            and not (path == "overwrite_cache" and value is False)
            and not (kind == "task_resource" and value == "0")
        }
    yield full
    yield {domain: {} for domain in DOMAINS}
    yield {
        domain: {path: value for path, value in flat.items() if draw.random() < 0.5}
        for domain, flat in full.items()
    }


def expected(settings: Settings, kind: str, target: Scope) -> Values:
    """Return the effective value in the form of `Flyte.read`."""
    flat = dict(settings.effective(kind, target).flat)
    if flat.get("overwrite_cache") is False:
        del flat["overwrite_cache"]
    parts = {"project": target.project, "domain": target.domain}
    if target.workflow not in ("", UNKNOWN):
        parts["workflow"] = target.workflow
    for path, value in flat.items():
        for name, part in parts.items():
            if isinstance(value, str):
                flat[path] = value = value.replace("{{ " + name + " }}", part)
    return flat


def key_of(scope: Scope) -> Key:
    return scope.project, scope.domain, scope.workflow


def differences(got: Values, wanted: Values) -> set[str]:
    return {path for path in got.keys() | wanted.keys() if got.get(path) != wanted.get(path)}


def targets() -> Iterator[Scope]:
    for project in PROJECTS:
        for domain in DOMAINS:
            yield Scope(domain, project)
            yield from (Scope(domain, project, name) for name in (*WORKFLOWS, UNKNOWN))
            yield Scope(domain, project, WORKFLOWS[0], "nightly")


def lost(found: Image, target: Scope) -> set[str]:
    """Return the paths that are reported for a target, or for a scope that stands for it."""
    return {loss.path for loss in found.losses if loss.target in target.chain}


@pytest.mark.parametrize("kind", FIELDS)
def test_flyte_reads_the_effective_value_or_the_path_is_reported(kind: str) -> None:
    draw = random.Random(kind)
    for _ in range(TREES):
        settings = random_settings(kind, draw)
        found = image(settings, kinds.by_name(kind), PROJECTS, DOMAINS)
        different: dict[Scope, set[str]] = {target: set() for target in targets()}
        for configuration in configurations(settings, kind, draw):
            flyte = Flyte(kind, configuration)
            for scope, message in sorted(found.rows.items(), key=lambda item: item[0].level):
                flyte.update(key_of(scope), message)
            for target, paths in different.items():
                got = flyte.read(key_of(target))
                paths |= differences(got, expected(settings, kind, target))
        for target, paths in different.items():
            assert paths <= lost(found, target), (target, found)
            # Nothing is reported that each configuration gives.
            assert {loss.path for loss in found.losses if loss.target == target} <= paths


@pytest.mark.parametrize("kind", FIELDS)
def test_a_row_is_there_only_where_flyte_reads_something_else_without_it(kind: str) -> None:
    draw = random.Random(f"{kind} 2")
    for _ in range(TREES):
        settings = random_settings(kind, draw)
        found = image(settings, kinds.by_name(kind), PROJECTS, DOMAINS)
        for scope, message in found.rows.items():
            above = [each for each in scope.chain[:-1] if each in found.rows]
            assert not above or found.rows[above[-1]] != message


def random_rows(kind: Kind, draw: random.Random) -> dict[Scope, MatchingAttributes]:
    scopes = [Scope("elsewhere", "shop"), *(s for s in SCOPES if s.project and not s.launch_plan)]
    if kind.name == "plugin_override":
        scopes = [scope for scope in scopes if scope.domain]
    rows = image(random_settings(kind.name, draw), kind, PROJECTS, DOMAINS).rows
    for scope in draw.sample(scopes, draw.randrange(len(scopes))):
        found = image(random_settings(kind.name, draw), kind, ["shop"], ["development"]).rows
        if found:
            rows[scope] = draw.choice(list(found.values()))
    return rows


@pytest.mark.parametrize("kind", FIELDS)
def test_the_operations_give_flyte_the_rows_from_any_rows_that_it_has(kind: str) -> None:
    draw = random.Random(f"{kind} 3")
    found = kinds.by_name(kind)
    for _ in range(TREES):
        present = random_rows(found, draw)
        kept = {scope for scope in present if scope.domain == "elsewhere"}
        rows = image(random_settings(kind, draw), found, PROJECTS, DOMAINS).rows
        flyte, result = stored(kind, present, draw), stored(kind, rows, draw)
        for scope in kept:
            result.update(key_of(scope), present[scope])
        before = {target: flyte.read(key_of(target)) for target in targets()}
        after = {target: result.read(key_of(target)) for target in targets()}
        planned = operations(found, rows, as_rows(flyte), kept)
        has_gap = any(isinstance(a, Delete) and isinstance(b, Update) for a, b in pairs(planned))
        for operation in planned:
            perform(flyte, operation)
            is_narrowest = kind not in ("workflow_execution_config", "plugin_override")
            for target in targets() if is_narrowest and not has_gap else ():
                assert flyte.read(key_of(target)) in (before[target], after[target])
        assert {target: flyte.read(key_of(target)) for target in targets()} == after
        assert operations(found, rows, as_rows(flyte), kept) == []
        assert {scope: as_rows(flyte)[scope] for scope in kept} == {s: present[s] for s in kept}


def pairs(planned: list[Any]) -> Iterator[tuple[Any, Any]]:
    return itertools.pairwise(planned)


def perform(flyte: Flyte, operation: Update | Delete) -> None:
    match operation:
        case Update():
            flyte.update(key_of(operation.scope), operation.message)
        case Delete():
            flyte.delete(key_of(operation.scope))


def stored(kind: str, rows: Mapping[Scope, MatchingAttributes], draw: random.Random) -> Flyte:
    """Return a Flyte that has the rows, in an order of ids that any history may have left."""
    flyte = Flyte(kind, {domain: {} for domain in (*DOMAINS, "elsewhere")})
    ids = draw.sample(range(-len(rows), 0), len(rows))
    flyte.rows = {key_of(s): (id, m) for id, (s, m) in zip(ids, rows.items(), strict=True)}
    return flyte


def as_rows(flyte: Flyte) -> dict[Scope, MatchingAttributes]:
    return {Scope(d, p, w): message for (p, d, w), (_, message) in flyte.rows.items()}


def test_every_kind_that_flyte_stores_is_in_these_tests() -> None:
    assert {kind.name for kind in mirrored_kinds()} == FIELDS.keys()


def test_rows_whose_value_cannot_be_computed_stay_as_they_are() -> None:
    kind, scope = kinds.by_name("task_resource"), Scope("development", "shop", "price")
    settings = Settings()
    settings.apply(RecordChanged.at(scope, kind.name, {"limits": {"from": "a later release"}}), 1)
    found = image(settings, kind, ["shop"], ["development"])
    assert found.unreadable.keys() == {scope}
    present = {scope: MatchingAttributes()}
    assert operations(kind, found.rows, present, found.unreadable.keys()) == []
    assert operations(kind, found.rows, present) == [Delete(kind, scope)]


def test_values_of_kinds_without_rows_are_reported() -> None:
    settings = Settings()
    target = Scope("development", "shop")
    settings.apply(RecordChanged.at(target, "quality_of_service", {"tier": "HIGH"}), 1)
    [loss] = unmirrored(settings, ["shop"], ["development", "production"])
    assert (loss.kind, loss.target, loss.path) == ("quality_of_service", target, "tier")


def test_projects_are_registered_changed_and_archived() -> None:
    ours = [
        ProjectChanged(name="new", description="A new one", labels={"team": "a"}),
        ProjectChanged(name="equal", labels={"team": "a"}),
        ProjectChanged(name="old", state="archived"),
        ProjectChanged(name="unused", state="archived"),
    ]
    theirs = [
        FlyteProject("equal", "Equal", "Flyte cannot clear it", {"team": "a"}),
        FlyteProject("old", "old", labels={"team": "b"}),
        FlyteProject("of-flyte-only"),
    ]
    assert project_operations(ours, theirs) == [
        Register(FlyteProject("new", "new", "A new one", {"team": "a"})),
        UpdateProject(FlyteProject("old", "old", is_archived=True)),
    ]


def test_a_row_that_is_not_needed_gets_the_broader_value_where_narrower_rows_stay() -> None:
    kind = kinds.by_name("task_resource")
    project, domain, workflow = Scope("development", "shop", "price").chain[3:]
    ours, theirs = (to_message(kind, {"limits": {"cpu": cpu}}) for cpu in "12")
    rows = {project: ours, workflow: theirs}
    assert operations(kind, rows, {**rows, domain: theirs}) == [Update(kind, domain, ours)]
    assert operations(kind, {project: ours}, {project: ours, domain: theirs}) == [
        Delete(kind, domain)
    ]
