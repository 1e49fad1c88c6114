"""The identity of a pod: its service account, role, secrets and tokens. Pure.

No manifest has the value of a secret or of a token: it names the Secret of Kubernetes and its key.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from trimtab.kinds.workflow_execution_config import Secret
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, Manifest
from trimtab_propeller.pods.fields import PodRejected, objects_in

SECRETS_DIRECTORY = "/etc/trimtab/secrets"
"""A secret that is a file is ``<group>/<key>`` in it."""
VARIABLE_PREFIX = "_FSEC_"
TOKENS = "trimtab.io/oauth2-tokens"
"""The annotation with the tokens that the task needs, as JSON."""
CLIENT = "trimtab.io/oauth2-client"
IDENTITY = "trimtab.io/execution-identity"

_VOLUME = "trimtab-secret-"
_PATH = "security_context.secrets"
_SPEC = "pod_template.pod_spec"
_GROUP = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"(?!\.\.)(?!\.$)[-._a-zA-Z0-9]{1,253}")


def add_service_account(draft: Draft, attempt: Attempt) -> None:
    """Set that of the settings, unless the pod of the task names one itself."""
    # `serviceAccount` is the earlier name of the field, which Kubernetes still accepts.
    own = draft.spec.get("serviceAccountName") or draft.spec.pop("serviceAccount", None)
    if name := own or attempt.service_account:
        draft.spec["serviceAccountName"] = name


def add_identity(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Add the secrets to the primary container, and annotations for the rest.

    The annotations replace others of the same key. Raises `PodRejected`.
    """
    add_secrets(draft, attempt)
    if attempt.iam_role is not None:
        draft.annotations[defaults.iam_role_annotation] = attempt.iam_role
    for key, value in _facts(attempt).items():
        if value is None:
            # A webhook may trust these, so no other source can set them.
            draft.annotations.pop(key, None)
        else:
            draft.annotations[key] = value


def _facts(attempt: Attempt) -> Mapping[str, str | None]:
    client, tokens = attempt.oauth2_client, attempt.tokens
    return {
        IDENTITY: attempt.execution_identity,
        CLIENT: _json(client.model_dump(exclude_none=True)) if client else None,
        TOKENS: _json([each.model_dump(exclude_none=True) for each in tokens]) if tokens else None,
    }


def add_secrets(draft: Draft, attempt: Attempt) -> None:
    """Add each secret as a variable or as a file, as ``mount_requirement`` has it.

    Without a requirement it is a variable; without a key, which is every key, it is files. The
    variable that ``env_var`` names has the value too, or the path of the file or the files.
    """
    variables: dict[str, Manifest] = {}
    files: dict[str, set[str | None]] = {}
    for index, secret in enumerate(attempt.secrets):
        _check(f"{_PATH}.{index}", secret)
        if secret.key is None or secret.mount_requirement == "FILE":
            files.setdefault(secret.group, set()).add(secret.key)
            names: Sequence[str | None] = (secret.env_var,)
            source: Manifest = {
                "value": "/".join(filter(None, (SECRETS_DIRECTORY, secret.group, secret.key)))
            }
        else:
            names = (f"{VARIABLE_PREFIX}{secret.group}_{secret.key}".upper(), secret.env_var)
            source = {"valueFrom": {"secretKeyRef": {"name": secret.group, "key": secret.key}}}
        for name in filter(None, names):
            if variables.setdefault(name, source) != source:
                message = f"two different secrets would be the variable {name}"
                raise PodRejected(f"{_PATH}.{index}", secret.group, message)
    if variables:
        _add_variables(draft, variables)
    if files:
        _add_files(draft, files)


def _check(path: str, secret: Secret) -> None:
    """Raise `PodRejected` where no Secret of Kubernetes can be meant."""
    if not _GROUP.fullmatch(secret.group):
        message = f"{secret.group!r} cannot be the name of a Secret of Kubernetes"
        raise PodRejected(f"{path}.group", secret.group, message)
    if secret.key is not None and not _KEY.fullmatch(secret.key):
        message = f"{secret.key!r} cannot be a key of a Secret of Kubernetes"
        raise PodRejected(f"{path}.key", secret.key, message)
    if secret.key is None and secret.mount_requirement == "ENV_VAR":
        message = f"secret {secret.group!r} has no key: a variable has a single value"
        raise PodRejected(f"{path}.key", None, message)
    if secret.group_version is not None:
        message = f"secret {secret.group!r} has a version, and Secrets of Kubernetes have none"
        raise PodRejected(f"{path}.group_version", secret.group_version, message)


def _add_variables(draft: Draft, variables: Mapping[str, Manifest]) -> None:
    path = f"{_SPEC}.containers.{draft.primary_name}"
    env = objects_in(draft.primary, path, "env")
    env[:] = [each for each in env if each.get("name") not in variables]
    env += [{"name": name, **variables[name]} for name in sorted(variables)]


def _add_files(draft: Draft, files: Mapping[str, set[str | None]]) -> None:
    """Mount each Secret as a directory. Raises `PodRejected` where the pod uses its path."""
    volumes = objects_in(draft.spec, _SPEC, "volumes")
    path = f"{_SPEC}.containers.{draft.primary_name}"
    mounts = objects_in(draft.primary, path, "volumeMounts")
    for mount in mounts:
        at = str(mount.get("mountPath", ""))
        if f"{at}/".startswith(f"{SECRETS_DIRECTORY}/"):
            message = f"container {draft.primary_name!r} has a mount at {at}, where the secrets are"
            raise PodRejected(_PATH, at, message)
    for index, group in enumerate(sorted(files)):
        name = f"{_VOLUME}{index}"
        if any(volume.get("name") == name for volume in volumes):
            raise PodRejected(_PATH, name, f"the pod has a volume {name} of its own")
        volumes.append({"name": name, "secret": {"secretName": group, **_items(files[group])}})
        mount_path = f"{SECRETS_DIRECTORY}/{group}"
        mounts.append({"name": name, "mountPath": mount_path, "readOnly": True})


def _items(keys: set[str | None]) -> Manifest:
    """Return the keys that become files; without this field, every key does."""
    if None in keys:
        return {}
    return {"items": [{"key": key, "path": key} for key in sorted(_texts(keys))]}


def _texts(keys: set[str | None]) -> Iterator[str]:
    return (key for key in keys if key is not None)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
