"""Kubernetes clusters, through the official client's transport and server-side apply.

Fields are owned by the field manager `port.FIELD_MANAGER`; the inventory is an annotation of the
Namespace with a manager of its own.

**Conflicts.** A field that another manager owns with another value is a conflict. It is taken back
only where the field was ours: a repair was requested, and the object that was applied last is known
to have had it, because the inventory or the memory holds the hash of just this rendering, or the
memory holds a rendering that had all the fields in conflict. So a manual edit of what was applied
is taken back, while an object that existed before, with another value in a foreign field, is
reported as conflicted and never overwritten. The annotation ``trimtab.io/force-conflicts: "true"``
of a template takes every field.

**Stale writers.** An update carries the resourceVersion that the same call read, or the newest one
that this process knows of an object that is as it has applied it. A refused one is repeated only
while the fields of `port.FIELD_MANAGER` are what was read or applied. So a process that was paused
cannot overwrite what another replica applied meanwhile. A create has no such precondition in
server-side apply: it is sent only shortly after the read that found no object.

**Created or adopted.** The inventory names an object before the object is created. Where a process
is killed in between, an object that is found later counts as created if no other manager owns any
of its fields, apart from its status; otherwise as adopted. What Kubernetes itself puts into every
namespace is always adopted.
"""
