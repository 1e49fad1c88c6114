"""The resolution of an execution: its request and the settings become every value it runs with.

It happens once, at admission; later changes of the settings apply to later executions. Every module
is pure: values in, values out.
"""

from trimtab_propeller.resolution.resolving import PreparedResolution, check, prepare, resolve
from trimtab_propeller.resolution.site import Site

__all__ = ["PreparedResolution", "Site", "check", "prepare", "resolve"]
