"""The kind `workflow_execution_config`: configuration of executions, except resources of tasks.

Flyte's files wrap some fields: ``labels`` and ``annotations`` in ``{values: {team: a}}``, ``envs``
in ``{values: [{key: LOG, value: debug}]}``, ``interruptible`` in ``{value: true}``. In our
documents they are plain maps and a plain boolean, so that records of several levels are merged.

Labels, annotations, ``envs`` and the output prefix may contain the placeholders ``{{ project }}``,
``{{ domain }}``, ``{{ workflow }}``, ``{{ launch_plan }}`` and ``{{ execution }}``, which are
replaced by the values of each execution. Another word in two braces, or other blanks, are refused,
because no execution can fill them. A word in braces for another system has four of them:
``{{{{ ds }}}}`` stands for ``{{ ds }}``. What is no word, such as ``{{ .Values.x }}``, is left
alone. Texts of launch plans and requests have no placeholders and stay as they are.

An execution has at most 48 labels, and annotations of at most 240 KiB, of all sources together: its
project, these records, its launch plan and its request. Keys below ``trimtab.io/`` are reserved,
except for the annotation ``trimtab.io/pod-template``. Keys of Kubernetes may be set; where a queue
of Kueue is selected, its name replaces the label ``kueue.x-k8s.io/queue-name``.

Values of ``envs`` are no place for credentials: as in Flyte, every viewer of a scope can read them,
in records, history, explanations and executions. A name or a value that looks like a credential is
accepted with a warning. ``security_context.secrets`` names secrets, and never holds their values.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, JsonValue, model_validator

from trimtab import credentials, placeholders
from trimtab.errors import Invalid
from trimtab.kinds.flyte import (
    FlyteKind,
    FlyteMerge,
    convert_fields,
    enum_name,
    is_wrapper,
    list_of_map,
    map_of_list,
)
from trimtab.kinds.kind import Kind, KindModel, Problem, Value
from trimtab.kinds.schema import ATOMIC
from trimtab.labels import (
    MAX_ANNOTATIONS,
    RESERVED,
    LabelKey,
    LabelTemplate,
    ObjectName,
    Text,
    VariableName,
    VariableValue,
    is_reserved,
)
from trimtab.levels import Level
from trimtab.texts import MULTILINE

MountRequirement = Literal["ANY", "ENV_VAR", "FILE"]
GrantType = Literal["CLIENT_CREDENTIALS"]
_ENUMS: Mapping[str, tuple[str, ...]] = {
    "mount_requirement": get_args(MountRequirement),
    "type": get_args(GrantType),
}
"""Fields of ``security_context`` that are numbers in Flyte's files, with the names in order."""


class Secret(KindModel):
    """A reference to a secret, and how the task receives it."""

    group: Text
    """The name of the Kubernetes secret, or of the secret in a secret manager."""
    group_version: str | None = None
    """The version, where the secret manager has versions."""
    key: str | None = None
    """The key inside the group."""
    mount_requirement: MountRequirement | None = None
    """How the task receives it, as a variable or as a file; either by default."""
    env_var: VariableName | None = None
    """One more variable with the value, or with the path of the file."""


class OAuth2Client(KindModel):
    """A client of an OAuth 2 server."""

    client_id: Text
    """The id by which the server identifies the client."""
    client_secret: Secret
    """The secret that authenticates the client."""


class OAuth2Token(KindModel):
    """An OAuth 2 token that is fetched before a task starts."""

    name: VariableName
    """The name of the file or variable that holds the token."""
    type: GrantType | None = None
    """The grant type; Flyte has only this one."""
    client: OAuth2Client
    """The client that requests the token."""
    idp_discovery_endpoint: str | None = None
    """The URL of the server's discovery document."""
    token_endpoint: str | None = None
    """The URL of the server's token endpoint."""


class Identity(KindModel):
    """The identity that executions run as."""

    iam_role: Text | None = None
    """The role of the cloud provider."""
    k8s_service_account: ObjectName | None = None
    """The Kubernetes service account in the namespace."""
    oauth2_client: Annotated[OAuth2Client | None, ATOMIC] = None
    """The client of an external OAuth 2 server."""
    execution_identity: Text | None = None
    """The identity of the user or client that created the execution."""


class SecurityContext(KindModel):
    """Identity, secrets and tokens of executions."""

    run_as: Identity | None = None
    """The identity that executions run as."""
    secrets: tuple[Secret, ...] | None = Field(default=None, strict=False)
    """Secrets for every task; a narrower record replaces the whole list."""
    tokens: tuple[OAuth2Token, ...] | None = Field(default=None, strict=False)
    """OAuth 2 tokens for every task; a narrower record replaces the whole list."""


class RawOutputDataConfig(KindModel):
    """Where tasks write their data."""

    output_location_prefix: Text | None = None
    """The prefix of the location, such as ``s3://bucket/raw``."""


class ExecutionEnv(KindModel):
    """An environment that exists longer than one task."""

    name: Text
    """The name, unique among environments of its type."""
    type: Text
    """The type, which names the provider of the environment."""
    extant: Annotated[dict[str, JsonValue] | None, MULTILINE] = None
    """An existing environment, in the format of its provider."""
    spec: Annotated[dict[str, JsonValue] | None, MULTILINE] = None
    """An environment that the provider creates, in its format."""
    version: str | None = None
    """The version of the environment."""

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        if self.extant is not None and self.spec is not None:
            raise ValueError("only one of extant, spec")
        return self


class ExecutionEnvAssignment(KindModel):
    """The tasks that run in an environment."""

    node_ids: tuple[str, ...] | None = Field(default=None, strict=False)
    """Ids of the nodes; all nodes by default."""
    task_type: str | None = None
    """The type of the tasks; every type by default."""
    execution_env: ExecutionEnv
    """The environment that the tasks run in."""


class WorkflowExecutionConfig(Value):
    """Configuration of executions."""

    max_parallelism: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """The largest number of nodes of one execution that run at once; no limit by default."""
    security_context: SecurityContext | None = None
    """Identity, secrets and tokens of executions."""
    raw_output_data_config: RawOutputDataConfig | None = None
    """Where tasks write their data."""
    labels: dict[LabelKey, LabelTemplate] | None = None
    """Labels of every object that is created for an execution."""
    annotations: Annotated[dict[LabelKey, str] | None, MULTILINE] = None
    """Annotations of every object that is created for an execution."""
    interruptible: bool | None = None
    """Whether tasks may run on machines that can be withdrawn at any time."""
    overwrite_cache: bool | None = None
    """Whether tasks run again even if their outputs are cached."""
    envs: Annotated[dict[VariableName, VariableValue] | None, MULTILINE] = None
    """Environment variables of every task."""
    execution_env_assignments: tuple[ExecutionEnvAssignment, ...] | None = Field(
        default=None, strict=False
    )
    """The tasks that run in environments; a narrower record replaces the whole list."""


def _problems(flat: Mapping[str, JsonValue]) -> Iterator[Problem]:
    prefix = "annotations."
    size = sum(
        len(path.removeprefix(prefix).encode()) + len(str(value).encode())
        for path, value in flat.items()
        if path.startswith(prefix)
    )
    if size > MAX_ANNOTATIONS:
        yield Problem("annotations", size, f"{MAX_ANNOTATIONS} bytes of keys and values together")


def _check_written(value: Value) -> None:
    """Raise `Invalid` on reserved keys, and on braces that no execution can fill.

    Earlier releases accepted both.
    """
    assert isinstance(value, WorkflowExecutionConfig)
    for field in _MAPS:
        for key, text in (getattr(value, field) or {}).items():
            if is_reserved(field, key):
                allowed = f"a key that is not below {RESERVED}/, which only Trimtab sets"
                raise Invalid(f"{field}.{key}", text, allowed)
    _check_placeholders(value)


def _check_placeholders(value: WorkflowExecutionConfig) -> None:
    texts = [
        (f"{field}.{key}", text)
        for field in ("annotations", "envs")
        for key, text in (getattr(value, field) or {}).items()
    ]
    if value.raw_output_data_config is not None:
        path = "raw_output_data_config.output_location_prefix"
        texts.append((path, value.raw_output_data_config.output_location_prefix or ""))
    for path, text in texts:
        try:
            placeholders.check(text)
        except ValueError as error:
            raise Invalid(path, text, str(error)) from error


def _likely_mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    for field in ("envs", "execution_env_assignments"):
        yield from credentials.warnings(document.get(field), field)


_MAPS = ("labels", "annotations")


def from_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(fields)
    for name in _MAPS:
        entries = document.get(name)
        # A label may have the key "values", but then its value is text and not a map.
        if is_wrapper(entries, "values") and not isinstance(entries["values"], str):
            document[name] = entries["values"]
    if "security_context" in document:
        to_names = {field: partial(enum_name, names) for field, names in _ENUMS.items()}
        document["security_context"] = convert_fields(document["security_context"], to_names)
    if is_wrapper(interruptible := document.get("interruptible"), "value"):
        document["interruptible"] = interruptible["value"]
    if is_wrapper(envs := document.get("envs"), "values") and isinstance(envs["values"], list):
        document["envs"] = _variables(envs["values"])
    return document


def _variables(pairs: list[Any]) -> dict[str, Any]:
    entries = map_of_list("envs.values", pairs, "key", ("value",))
    for name, entry in entries.items():
        if not is_wrapper(entry, "value"):
            raise Invalid(f"envs.values.{name}", entry, "a key and a value")
    return {name: entry["value"] for name, entry in entries.items()}


def to_file(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    for name in _MAPS:
        if name in fields:
            fields[name] = {"values": fields[name]}
    if "security_context" in fields:
        to_numbers = {field: names.index for field, names in _ENUMS.items()}
        fields["security_context"] = convert_fields(fields["security_context"], to_numbers)
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
    summary="Configuration of executions, except the resources of tasks",
    flyte=FlyteKind(
        number=6,
        message="WorkflowExecutionConfig",
        merge=FlyteMerge.FIELD_BY_FIELD,
        native_fields=frozenset({"execution_env_assignments"}),
    ),
    check_written=_check_written,
    validate=_problems,
    likely_mistakes=_likely_mistakes,
    from_file=from_file,
    to_file=to_file,
    # The one that flytectl generates.
    sample={
        "max_parallelism": 10,
        "security_context": {"run_as": {"k8s_service_account": "default"}},
        "raw_output_data_config": {"output_location_prefix": "cliOutputLocationPrefix"},
        "labels": {"cliLabelKey": "cliLabelValue"},
        "annotations": {"cliAnnotationKey": "cliAnnotationValue"},
    },
)
