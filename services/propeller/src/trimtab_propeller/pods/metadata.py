"""The name, the labels and the annotations of a pod. Pure.

A value that no label can have is shortened, with a hash of the whole, which is an annotation.
"""

import hashlib
import re
from base64 import b32encode
from collections.abc import Mapping

from trimtab.labels import MAX_NAME, RESERVED, is_reserved, label_value
from trimtab.settings import namespaces
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft
from trimtab_propeller.pods.fields import PodRejected

PREFIX = "trimtab.io/"
"""Labels and annotations with this prefix are Trimtab's own."""
KUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CHILD_QUEUE = f"{PREFIX}child-queue"
"""The annotation of a queue whose system has no label for pods."""
_HASH_CHARACTERS = 10
_PLAIN_NODE = re.compile(rf"[a-z0-9]{{1,{_HASH_CHARACTERS - 1}}}")
_PLAIN_EXECUTION = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9_.-]+")


def pod_name(attempt: Attempt) -> str:
    """Return a name of at most 63 characters that no other attempt's pod has.

    It is ``<execution>-<node>-<number>`` where that fits, or else a part of it and a hash. A node's
    id that is as long as a hash is never used as it is, so no name has two meanings.
    """
    execution, node, number = attempt.execution, attempt.node, attempt.number
    name = f"{execution}-{node}-{number}"
    is_plain = _PLAIN_EXECUTION.fullmatch(execution) and _PLAIN_NODE.fullmatch(node)
    if is_plain and len(name) <= MAX_NAME:
        return name
    end = f"-{_hash(f'{execution}/{node}')}-{number}"
    readable = _NOT_IN_NAMES.sub("-", f"{execution}-{node}".lower())
    return readable[: MAX_NAME - len(end)].strip("-") + end


def retry_key(attempt: Attempt) -> str:
    """Return a name of letters, digits and underscores that no other attempt has."""
    return "a_" + pod_name(attempt).replace("-", "_")


def namespace(attempt: Attempt, defaults: PodDefaults) -> str:
    return namespaces.name(defaults.namespace_template, attempt.project, attempt.domain)


def check_metadata(attempt: Attempt, defaults: PodDefaults) -> None:
    """Raise `PodRejected` where a user sets a key that gives rights to the pod.

    Admission has checked the keys of the execution itself.
    """
    template = attempt.pod_template
    labels, annotations = (template.labels, template.annotations) if template else ({}, {})
    for field, given in (("labels", labels), ("annotations", annotations)):
        for key, value in given.items():
            if is_reserved(field, key):
                message = f"a key below {RESERVED}/, which only Trimtab sets"
                raise PodRejected(f"pod_template.{field}.{key}", value, message)
    if attempt.iam_role is None:
        key = defaults.iam_role_annotation
        for path, given in (("", attempt.annotations), ("pod_template.", annotations)):
            if key in given:
                message = "only security_context.run_as.iam_role of the settings sets the role"
                raise PodRejected(f"{path}annotations.{key}", given[key], message)


def add_metadata(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Complete the labels and annotations. Of one key, those named later have the value:

    the defaults, the pod template, the resolved ones, and those of Trimtab.
    """
    names = {
        "execution": attempt.execution,
        "node": attempt.node,
        "task": attempt.task,
        "project": attempt.project,
        "domain": attempt.domain,
        "workflow": attempt.workflow,
    }
    labels = {PREFIX + name: shortened(value) for name, value in names.items()}
    draft.labels = {
        **defaults.labels,
        **draft.labels,
        **attempt.labels,
        **labels,
        f"{PREFIX}attempt": str(attempt.number),
        f"{PREFIX}interruptible": "true" if attempt.interruptible else "false",
        **({KUEUE_LABEL: attempt.queue} if attempt.queue_system == "kueue" else {}),
    }
    draft.annotations = {
        **defaults.annotations,
        **draft.annotations,
        **attempt.annotations,
        **{PREFIX + name: value for name, value in names.items()},
        **_hints(draft.primary_name, attempt),
    }


def shortened(text: str) -> str:
    """Return the text where it is the value of a label, or else a part of it and its hash."""
    try:
        return label_value(text)
    except ValueError:
        end = f"-{_hash(text)}"
    readable = _NOT_IN_LABELS.sub("-", text)[: MAX_NAME - len(end)].strip("-_.")
    return (readable + end).lstrip("-")


def _hints(primary: str, attempt: Attempt) -> Mapping[str, str]:
    """Return what tools read: the container that counts, for Flyte's and for ``kubectl logs``."""
    hints = {
        "primary_container_name": primary,
        "kubectl.kubernetes.io/default-container": primary,
    }
    if attempt.priority is not None:
        hints[f"{PREFIX}priority"] = str(attempt.priority)
    if attempt.queue_system == "child_queue":
        hints[CHILD_QUEUE] = attempt.queue
    return hints


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return b32encode(digest).decode().lower()[:_HASH_CHARACTERS]
