"""All names on NATS: streams, durable consumers, subjects. Pure."""

import re
from urllib.parse import quote, unquote

from trimtab.errors import Invalid
from trimtab.levels import SETTINGS_FILE, Scope

SETTINGS = "SETTINGS"
EXECUTIONS = "EXECUTIONS"
EXECUTION_EVENTS = "EXECUTION_EVENTS"
NAMESPACES = "NAMESPACES"
DEAD_LETTERS = "DEAD_LETTERS"
LEADERS = "LEADERS"
"""The leases by which one replica of a service is active; only that service uses the stream."""
BLOBS = "BLOBS"
"""The bucket of an object store: blobs by their SHA-256."""
BLOBS_STREAM = f"OBJ_{BLOBS}"
"""The stream of that bucket."""

ADMIN = "admin"
"""The durable consumer of EXECUTION_EVENTS that all replicas of admin share."""
PROPELLER = "propeller"
"""The durable consumer of EXECUTIONS that propellers of earlier releases share, and the name of
propeller in dead letters."""

WATERMARK = "trimtab.settings.watermark"
ALL_ATTRIBUTES = "trimtab.attributes.>"
ALL_REQUESTED = "trimtab.executions.requested.>"
ALL_WAITING = "trimtab.executions.waiting.>"
"""Core NATS: propellers publish why they do not claim the requests of a project and domain."""
ALL_EVENTS = "trimtab.executions.events.>"
ALL_COMMANDS = "trimtab.executions.commands.>"
ALL_NAMESPACES = "trimtab.namespaces.>"
ALL_LEADERS = "trimtab.leaders.*"
CLUSTERRES_LEADER = "trimtab.leaders.clusterres"
HEARTBEATS = "trimtab.propeller.heartbeats"
"""Core NATS: the heartbeats of propellers."""
ALL_STORED = "trimtab.executions.stored.*"
"""Core NATS: the hint of an admin that it has stored an event of an execution."""
CLUSTERRES_REPORT = "trimtab.clusterres.report"
"""Core NATS: requests for the state of the active clusterres."""
DRY_RUN = "trimtab.propeller.dry_run"
"""Core NATS: requests to resolve an execution without running it; one propeller replies."""
RELAY = "trimtab.relay"
"""Core NATS: a replica of admin whose relay is a standby notifies the leader of new rows."""

MAX_LENGTH = 2048
"""The longest subject, in bytes."""

_FAMILY = re.compile("[a-z][a-z0-9_]*")
_UNSET = "-"
_PLAIN = re.compile("[A-Za-z0-9_-]+")
"""Names that need no escape: nearly all, and `quote` takes ten times as long to find that out."""
# No escaped name begins with it, because ``s`` is no hexadecimal digit.
_SETTINGS_FILE = "=settings"


def attributes(kind: str, scope: Scope) -> str:
    """Return the subject of a record. Raises `Invalid` where its names together are too long."""
    domain = _SETTINGS_FILE if scope.settings_file else _escape(scope.domain)
    parts = [kind, domain, *map(_escape, (scope.project, scope.workflow, scope.launch_plan))]
    return _check_length("trimtab.attributes." + ".".join(parts))


def parse_attributes(subject: str) -> tuple[str, Scope]:
    """Return kind and scope of the subject of a record. Raises `ValueError` on other subjects."""
    match subject.split("."):
        case ["trimtab", "attributes", kind, domain, *_] if domain == _SETTINGS_FILE:
            return kind, SETTINGS_FILE
        case ["trimtab", "attributes", kind, domain, project, workflow, launch_plan]:
            return kind, Scope(
                _unescape(domain), _unescape(project), _unescape(workflow), _unescape(launch_plan)
            )
        case _:
            raise ValueError(f"{subject!r} is not the subject of a record")


def family(subject: str) -> str:
    """Return the wildcard of all subjects like this one, without names: for spans and metrics."""
    match subject.split("."):
        case ["trimtab", "attributes" | "executions" as first, second, *_]:
            return f"trimtab.{first}.{second}.>"
        case ["trimtab", first, *_]:
            return f"trimtab.{first}.>"
        case _:
            return ">"


def settings_names(subject: str) -> dict[str, str] | None:
    """Return the names that the subject of a setting contains, by the field of its event.

    The fields of a family that only a later release knows are not known, so none is returned.
    ``None`` where no release writes such a subject.
    """
    match subject.split("."):
        case ["trimtab", "attributes", *_]:
            return _attributes_names(subject)
        case ["trimtab", "projects" | "domains" | "clusters" | "pools" | "queues", name]:
            names = {"name": name}
        case ["trimtab", "prunes", cluster, namespace]:
            names = {"cluster": cluster, "namespace": namespace}
        case ["trimtab", "projects" | "domains" | "clusters" | "pools" | "queues" | "prunes", *_]:
            return None
        case ["trimtab", "settings", *_]:
            return None
        case ["trimtab", family, *parts] if parts and _FAMILY.fullmatch(family):
            names = {str(number): part for number, part in enumerate(parts)}
        case _:
            return None
    if len(subject) > MAX_LENGTH or any(
        _escape(_unescape(part)) != part for part in names.values()
    ):
        return None
    return {field: _unescape(part) for field, part in names.items() if not field.isdecimal()}


def _attributes_names(subject: str) -> dict[str, str] | None:
    try:
        kind, scope = parse_attributes(subject)
        if attributes(kind, scope) != subject or _escape(kind) != kind:
            return None
    except (Invalid, ValueError):
        return None
    return {
        "kind": kind,
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "launch_plan": scope.launch_plan,
    }


def name_of(subject: str) -> str:
    """Return the name at the end of the subject of a project, domain, cluster, pool or log."""
    return _unescape(subject.rpartition(".")[2])


def names_of(subject: str) -> str:
    """Return the names after the family of a subject, such as ``east/shop-development``."""
    return "/".join(map(_unescape, subject.split(".")[2:]))


def logged_execution(subject: str) -> str | None:
    """Return the execution whose log has this subject; ``None`` where no log can have it."""
    name = name_of(subject)
    try:
        return name if name and events(name) == subject else None
    except Invalid:
        return None


def project(name: str) -> str:
    return _check_length(f"trimtab.projects.{_escape(name)}")


def domain(name: str) -> str:
    return _check_length(f"trimtab.domains.{_escape(name)}")


def cluster(name: str) -> str:
    return _check_length(f"trimtab.clusters.{_escape(name)}")


def pool(name: str) -> str:
    return _check_length(f"trimtab.pools.{_escape(name)}")


def queue(name: str) -> str:
    return _check_length(f"trimtab.queues.{_escape(name)}")


def prune(cluster: str, namespace: str) -> str:
    return _check_length(f"trimtab.prunes.{_escape(cluster)}.{_escape(namespace)}")


def parse_prune(subject: str) -> tuple[str, str]:
    """Return cluster and namespace of a confirmation. Raises `ValueError` on other subjects."""
    match subject.split("."):
        case ["trimtab", "prunes", cluster, namespace]:
            return _unescape(cluster), _unescape(namespace)
        case _:
            raise ValueError(f"{subject!r} is not the subject of a confirmation")


def requested(domain: str, project: str) -> str:
    return _check_length(f"trimtab.executions.requested.{_escape(domain)}.{_escape(project)}")


def parse_requested(subject: str) -> tuple[str, str]:
    """Return the domain and the project of the subject of requests. Raises `ValueError`."""
    match subject.split("."):
        case ["trimtab", "executions", "requested", domain, project]:
            return _unescape(domain), _unescape(project)
        case _:
            raise ValueError(f"{subject!r} is not the subject of requests")


def waiting(domain: str, project: str) -> str:
    return _check_length(f"trimtab.executions.waiting.{_escape(domain)}.{_escape(project)}")


def events(execution: str) -> str:
    return _check_length(f"trimtab.executions.events.{_escape(execution)}")


def stored(execution: str) -> str:
    return _check_length(f"trimtab.executions.stored.{_escape(execution)}")


def namespace(cluster: str, name: str) -> str:
    return _check_length(f"trimtab.namespaces.{_escape(cluster)}.{_escape(name)}")


def namespaces_of(cluster: str) -> str:
    """Return the wildcard of the namespaces of a cluster."""
    return _check_length(f"trimtab.namespaces.{_escape(cluster)}.>")


def difference(cluster: str, namespace: str) -> str:
    """Return the subject of requests for the difference of a namespace to its templates."""
    return _check_length(f"trimtab.clusterres.diff.{_escape(cluster)}.{_escape(namespace)}")


def differences_of(cluster: str) -> str:
    """Return the wildcard of the requests for all namespaces of a cluster."""
    return f"trimtab.clusterres.diff.{_escape(cluster)}.*"


def blob_info(key: str) -> str:
    """Return the subject of the metadata of a blob, or of all for ``*``."""
    return f"$O.{BLOBS}.M.{key}"


def blob_chunks(nuid: str) -> str:
    """Return the subject of the chunks of one upload, or of all for ``*``."""
    return f"$O.{BLOBS}.C.{nuid}"


def dead(stream: str, consumer: str) -> str:
    return f"trimtab.dead.{stream}.{consumer}"


def resmgr(operation: str, cohort: str) -> str:
    """Return the subject of requests to resmgr, such as ``trimtab.resmgr.allocate.default``."""
    return _check_length(f"trimtab.resmgr.{operation}.{_escape(cohort)}")


def granted(cohort: str, token: str) -> str:
    """Core NATS: the subject of the hint that a waiter's token is granted."""
    return _check_length(f"trimtab.resmgr.granted.{_escape(cohort)}.{_escape(token)}")


def lost(cohort: str, token: str) -> str:
    """Core NATS: the subject of the hint that a token is held no longer."""
    return _check_length(f"trimtab.resmgr.lost.{_escape(cohort)}.{_escape(token)}")


def _escape(part: str) -> str:
    """Escape one name so that it can be read back and holds no ``.``, ``*``, ``>`` or blank.

    Only an empty name gives ``-``.
    """
    if not part:
        return _UNSET
    if part == _UNSET:
        return "=2D"
    if _PLAIN.fullmatch(part):
        return part
    # quote() leaves letters, digits and ``_.-~``; everything else becomes ``%XX`` of its UTF-8.
    return quote(part, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")


def _unescape(token: str) -> str:
    return "" if token == _UNSET else unquote(token.replace("=", "%"))


def _check_length(subject: str) -> str:
    if len(subject) > MAX_LENGTH:
        raise Invalid("scope", f"{subject[:80]}…", f"names of at most {MAX_LENGTH} bytes together")
    return subject
