"""The service that most clients of Flyte 1 call: attributes, projects, domains and the version."""

from collections.abc import Sequence

from flyteidl.service.admin_pb2 import DESCRIPTOR

from trimtab_admin.flyte.attributes import AttributeRpcs
from trimtab_admin.flyte.projects import ProjectRpcs
from trimtab_admin.flyte.rpc import Service
from trimtab_admin.settings.history import History
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.tree import Tree


def make(
    tree: Tree, reading: Sessions, writer: Writer, history: History, domains: Sequence[str]
) -> Service:
    """Return ``flyteidl.service.AdminService``; ``domains`` are those of the configuration."""
    attributes = AttributeRpcs(tree, reading, writer)
    projects = ProjectRpcs(tree, reading, writer, history, domains)
    descriptor = DESCRIPTOR.services_by_name["AdminService"]
    return Service(descriptor, (*attributes.table(), *projects.table()))
