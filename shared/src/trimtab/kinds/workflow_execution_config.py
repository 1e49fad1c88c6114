"""What executions run with, beside the resources of their tasks.

Flyte's files wrap some fields: ``labels`` and ``annotations`` in ``{values: {team: a}}``, ``envs``
in ``{values: [{key: LOG, value: debug}]}``, ``interruptible`` in ``{value: true}``. Here they are
plain maps and a plain boolean, so that records of several levels merge.

In labels, annotations, ``envs`` and the output prefix, ``{{ project }}``, ``{{ domain }}``,
``{{ workflow }}``, ``{{ launch_plan }}`` and ``{{ execution }}`` stand for what each execution is.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from trimtab.errors import Invalid
from trimtab.kinds.flyte import FlyteKind, FlyteMerge, is_wrapper, list_of_map, map_of_list
from trimtab.kinds.kind import Kind, Part, Problem, Value
from trimtab.kinds.schema import ATOMIC
from trimtab.labels import (
    MAX_ANNOTATIONS,
    LabelKey,
    LabelTemplate,
    ObjectName,
    Text,
    VariableName,
    VariableValue,
)
from trimtab.levels import Level


class Secret(Part):
    """Where a secret is found, and how it gets to the task."""

    group: Text
    """The name of the Kubernetes secret, or what a secret manager calls it."""
    group_version: str | None = None
    """Where the secret manager keeps versions."""
    key: str | None = None
    """Inside the group."""
    mount_requirement: Literal["ANY", "ENV_VAR", "FILE"] | None = None
    """How it must get to the task; any way where nothing is said."""


class OAuth2Client(Part):
    """A client of an OAuth 2 server."""

    client_id: Text
    """As the server knows it."""
    client_secret: Secret
    """What it proves itself with."""


class Token(Part):
    """A token that is fetched before a task starts."""

    name: VariableName
    """Of the file or the variable that holds it."""
    type: Literal["CLIENT_CREDENTIALS"] | None = None
    """The only type there is."""
    client: OAuth2Client
    """Who asks for it."""
    idp_discovery_endpoint: str | None = None
    """Where the server tells its endpoints."""
    token_endpoint: str | None = None
    """Where the server gives tokens."""


class Identity(Part):
    """Who executions run as."""

    iam_role: Text | None = None
    """Of the cloud."""
    k8s_service_account: ObjectName | None = None
    """Of the namespace."""
    oauth2_client: Annotated[OAuth2Client | None, ATOMIC] = None
    """Of an outside service."""
    execution_identity: Text | None = None
    """The subject who makes the execution."""


class SecurityContext(Part):
    """Identity, secrets and tokens."""

    run_as: Identity | None = None
    """Who executions run as."""
    secrets: tuple[Secret, ...] | None = Field(default=None, strict=False)
    """Given to every task; a narrower record replaces all of them."""
    tokens: tuple[Token, ...] | None = Field(default=None, strict=False)
    """Given to every task; a narrower record replaces all of them."""


class RawOutputDataConfig(Part):
    """Where the data of tasks goes."""

    output_location_prefix: Text | None = None
    """Such as ``s3://bucket/raw``."""


class ExecutionEnv(Part):
    """An environment that outlives a task."""

    name: Text
    """Unique among those of its type."""
    type: Text
    """What provides it."""
    extant: dict[str, JsonValue] | None = None
    """One that exists, as its provider describes it."""
    spec: dict[str, JsonValue] | None = None
    """One that the provider shall make."""
    version: str | None = None
    """Of the environment."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.extant is not None and self.spec is not None:
            raise ValueError("either extant or spec")
        return self


class ExecutionEnvAssignment(Part):
    """Which tasks run in an environment."""

    node_ids: tuple[str, ...] | None = Field(default=None, strict=False)
    """The nodes, or all of them."""
    task_type: str | None = None
    """The type of the tasks, or any."""
    execution_env: ExecutionEnv
    """The environment."""


class WorkflowExecutionConfig(Value):
    """What executions run with."""

    max_parallelism: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """How many nodes of one execution may run at once; as many as can where nothing is said."""
    security_context: SecurityContext | None = None
    """Identity, secrets and tokens."""
    raw_output_data_config: RawOutputDataConfig | None = None
    """Where the data of tasks goes."""
    labels: dict[LabelKey, LabelTemplate] | None = None
    """Of every object that is made for an execution."""
    annotations: dict[LabelKey, str] | None = None
    """Of every object that is made for an execution."""
    interruptible: bool | None = None
    """Whether tasks may run where they can be interrupted."""
    overwrite_cache: bool | None = None
    """Whether tasks run again although their outputs are cached."""
    envs: dict[VariableName, VariableValue] | None = None
    """Environment of every task."""
    execution_env_assignments: tuple[ExecutionEnvAssignment, ...] | None = Field(
        default=None, strict=False
    )
    """Which tasks run in which environment; a narrower record replaces all of them."""


def _problems(flat: Mapping[str, JsonValue]) -> Iterator[Problem]:
    prefix = "annotations."
    size = sum(
        len(path.removeprefix(prefix).encode()) + len(str(value).encode())
        for path, value in flat.items()
        if path.startswith(prefix)
    )
    if size > MAX_ANNOTATIONS:
        yield Problem("annotations", size, f"{MAX_ANNOTATIONS} bytes of keys and values together")


_MAPS = ("labels", "annotations")


def from_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(fields)
    for name in _MAPS:
        entries = document.get(name)
        # A label may have the key "values", but then its value is text and not a map.
        if is_wrapper(entries, "values") and not isinstance(entries["values"], str):
            document[name] = entries["values"]
    if is_wrapper(interruptible := document.get("interruptible"), "value"):
        document["interruptible"] = interruptible["value"]
    if is_wrapper(envs := document.get("envs"), "values") and isinstance(envs["values"], list):
        document["envs"] = _variables(envs["values"])
    return document


def _variables(pairs: list[Any]) -> dict[str, Any]:
    entries = map_of_list("envs.values", pairs, "key")
    for name, entry in entries.items():
        if not is_wrapper(entry, "value"):
            raise Invalid(f"envs.values.{name}", entry, "a key and a value")
    return {name: entry["value"] for name, entry in entries.items()}


def to_file(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    for name in _MAPS:
        if name in fields:
            fields[name] = {"values": fields[name]}
    if "interruptible" in fields:
        fields["interruptible"] = {"value": fields["interruptible"]}
    if "envs" in fields:
        entries = {name: {"value": value} for name, value in fields["envs"].items()}
        fields["envs"] = {"values": list_of_map(entries, "key")}
    return fields


KIND = Kind(
    name="workflow_execution_config",
    value=WorkflowExecutionConfig,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="workflow-execution-config",
    summary="What executions run with, beside the resources of their tasks",
    flyte=FlyteKind(
        number=6,
        message="WorkflowExecutionConfig",
        merge=FlyteMerge.FIELD_BY_FIELD,
        native_fields=frozenset({"execution_env_assignments"}),
    ),
    validate=_problems,
    from_file=from_file,
    to_file=to_file,
)
