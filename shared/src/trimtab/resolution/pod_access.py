"""Find in a pod everything that a pod policy has to allow. Pure.

The model is the profile "baseline" of Kubernetes' Pod Security Standards: what it allows is free,
and what it denies needs a field of `pod_policy`. docs/pod-policy.md has the table, with the parts
in which Trimtab is stricter. The fields are those of the API of Kubernetes 1.35.
"""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from trimtab.resolution.pod_readers import (
    Access,
    Reader,
    any_text,
    anything,
    fields,
    free_fields,
    host_path,
    host_port,
    items,
    one_of,
    service_account,
    switch,
)

_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
)  # fmt: skip
_SELINUX_TYPES = ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")

_PROFILE = fields(
    {"type": one_of(("RuntimeDefault", "Localhost")), **free_fields("localhostProfile")}
)
_SECURITY: Mapping[str, Reader] = {
    "appArmorProfile": _PROFILE,
    "seccompProfile": _PROFILE,
    "seLinuxOptions": fields(
        {
            "type": one_of(_SELINUX_TYPES),
            "user": one_of(()),
            "role": one_of(()),
            **free_fields("level"),
        }
    ),
    "windowsOptions": fields(
        {
            "hostProcess": switch("privileged"),
            **free_fields("gmsaCredentialSpec", "gmsaCredentialSpecName", "runAsUserName"),
        }
    ),
    **free_fields("runAsGroup", "runAsNonRoot", "runAsUser"),
}
_CONTAINER_SECURITY = fields(
    {
        **_SECURITY,
        "privileged": switch("privileged"),
        "procMount": one_of(("Default",)),
        "capabilities": fields({"add": items(one_of(_CAPABILITIES)), **free_fields("drop")}),
        # Kubernetes allows it where it is absent, so that refusing it here would prevent nothing.
        **free_fields("allowPrivilegeEscalation", "readOnlyRootFilesystem"),
    }
)
_POD_SECURITY = fields(
    {
        **_SECURITY,
        "sysctls": items(fields({"name": one_of(_SYSCTLS), **free_fields("value")})),
        **free_fields(
            "fsGroup", "fsGroupChangePolicy", "seLinuxChangePolicy", "supplementalGroups",
            "supplementalGroupsPolicy",
        ),
    }
)  # fmt: skip
# The kubelet, which is in the network of the node, connects to the host that a probe names.
_HTTP = fields(
    {"host": any_text("host_network"), **free_fields("httpHeaders", "path", "port", "scheme")}
)
_TCP = fields({"host": any_text("host_network"), **free_fields("port")})
_HANDLER: Mapping[str, Reader] = {"httpGet": _HTTP, "tcpSocket": _TCP, **free_fields("exec")}
_PROBE = fields(
    {
        **_HANDLER,
        **free_fields(
            "failureThreshold", "grpc", "initialDelaySeconds", "periodSeconds", "successThreshold",
            "terminationGracePeriodSeconds", "timeoutSeconds",
        ),
    }
)  # fmt: skip
_HOOK = fields({**_HANDLER, **free_fields("sleep")})
_PORT = fields(
    {"hostPort": host_port, **free_fields("containerPort", "hostIP", "name", "protocol")}
)
_CONTAINER = fields(
    {
        "securityContext": _CONTAINER_SECURITY,
        "ports": items(_PORT),
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "startupProbe": _PROBE,
        "lifecycle": fields(
            {"postStart": _HOOK, "preStop": _HOOK, **free_fields("stopSignal")}
        ),
        **free_fields(
            "args", "command", "env", "envFrom", "image", "imagePullPolicy", "name", "resizePolicy",
            "resources", "restartPolicy", "restartPolicyRules", "stdin", "stdinOnce",
            "targetContainerName", "terminationMessagePath", "terminationMessagePolicy", "tty",
            "volumeDevices", "volumeMounts", "workingDir",
        ),
    }
)  # fmt: skip
_VOLUME = fields(
    {
        "hostPath": fields({"path": host_path, **free_fields("type")}, required="path"),
        # Both run a program of the node as root, with arguments of the pod.
        "flexVolume": anything("privileged"),
        "gitRepo": anything("privileged"),
        **free_fields(
            "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap",
            "csi", "downwardAPI", "emptyDir", "ephemeral", "fc", "flocker", "gcePersistentDisk",
            "glusterfs", "image", "iscsi", "name", "nfs", "persistentVolumeClaim",
            "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO",
            "secret", "storageos", "vsphereVolume",
        ),
    }
)  # fmt: skip
_POD = fields(
    {
        "containers": items(_CONTAINER),
        "initContainers": items(_CONTAINER),
        "ephemeralContainers": items(_CONTAINER),
        "volumes": items(_VOLUME),
        "securityContext": _POD_SECURITY,
        "hostNetwork": switch("host_network"),
        "hostIPC": switch("privileged"),
        "hostPID": switch("privileged"),
        # It starts the pod on a node without the scheduler, its taints and its capacity.
        "nodeName": any_text("privileged"),
        "serviceAccount": service_account,
        "serviceAccountName": service_account,
        **free_fields(
            "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig",
            "dnsPolicy", "enableServiceLinks", "hostAliases", "hostUsers", "hostname",
            "hostnameOverride", "imagePullSecrets", "nodeSelector", "os", "overhead",
            "preemptionPolicy", "priority", "priorityClassName", "readinessGates",
            "resourceClaims", "resources", "restartPolicy", "runtimeClassName", "schedulerName",
            "schedulingGates", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain",
            "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints",
            "workloadRef",
        ),
    }
)  # fmt: skip

# Annotations that kubelets of some releases read where the fields of the same meaning are absent.
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = (
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
_ANNOTATED = one_of(("runtime/default", "docker/default"), prefixes=("localhost/",))


def of_template(path: str, template: Mapping[str, JsonValue]) -> Iterator[Access]:
    """Yield what a ``pod_template`` needs. Raises `Invalid` where a part cannot be read."""
    yield from _POD(f"{path}.pod_spec", template.get("pod_spec", {}))
    yield from _of_annotations(path, template)


def of_pod(path: str, pod: Mapping[str, JsonValue]) -> Iterator[Access]:
    """Yield what a built pod needs, of which only the spec and the annotations are read."""
    yield from _POD(f"{path}.spec", pod.get("spec", {}))
    yield from _of_annotations(path, pod)


def _of_annotations(path: str, owner: Mapping[str, JsonValue]) -> Iterator[Access]:
    annotations = owner.get("annotations", {})
    if isinstance(annotations, dict):
        for key, value in annotations.items():
            yield from of_annotation(f"{path}.annotations.{key}", key, value)


def of_annotation(path: str, key: str, value: JsonValue) -> Iterator[Access]:
    """Yield what an annotation of a pod needs: those that replace fields of its security."""
    if key.startswith((_APPARMOR, *_SECCOMP)):
        yield from _ANNOTATED(path, value)


def of_service_account(path: str, name: JsonValue) -> Iterator[Access]:
    """Yield what a service account needs that the settings give to a pod."""
    yield from service_account(path, name)
