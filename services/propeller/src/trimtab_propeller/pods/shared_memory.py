"""The shared memory of the primary container. Pure."""

from trimtab import quantities
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.draft import Draft, Manifest
from trimtab_propeller.pods.fields import PodRejected, objects_in

VOLUME = "trimtab-shared-memory"
MOUNT_PATH = "/dev/shm"  # a path in the container
_SPEC = "pod_template.pod_spec"


def add_shared_memory(draft: Draft, attempt: Attempt) -> None:
    """Mount a volume of memory as ``/dev/shm``. The draft has its resources already.

    What it holds counts as memory of the container. Raises `PodRejected` where the pod has a volume
    or a mount in its place.
    """
    size = attempt.shared_memory
    if size is False or (isinstance(size, str) and not quantities.parse(size)):
        return
    volumes = objects_in(draft.spec, _SPEC, "volumes")
    path = f"{_SPEC}.containers.{draft.primary_name}"
    mounts = objects_in(draft.primary, path, "volumeMounts")
    if any(volume.get("name") == VOLUME for volume in volumes):
        raise PodRejected("shared_memory", size, f"the pod has a volume {VOLUME} of its own")
    if any(_is_shared_memory(mount) for mount in mounts):
        message = f"container {draft.primary_name!r} has a mount at {MOUNT_PATH} of its own"
        raise PodRejected("shared_memory", size, message)
    memory: Manifest = {"medium": "Memory"}
    limit = draft.primary.get("resources", {}).get("limits", {}).get("memory")
    if (amount := limit if size is True else size) is not None:
        memory["sizeLimit"] = amount
    volumes.append({"name": VOLUME, "emptyDir": memory})
    mounts.append({"name": VOLUME, "mountPath": MOUNT_PATH})


def _is_shared_memory(mount: Manifest) -> bool:
    return str(mount.get("mountPath", "")).rstrip("/") == MOUNT_PATH
