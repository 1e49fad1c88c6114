"""Pods of attempts: what an attempt and the configuration of pods become in Kubernetes.

Every module is pure: values in, values out. Nothing here creates a pod.
"""

from trimtab_propeller.pods.building import build_pod
from trimtab_propeller.pods.defaults import PodDefaults

__all__ = ["PodDefaults", "build_pod"]
