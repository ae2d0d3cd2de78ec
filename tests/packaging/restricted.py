"""The Pod Security Standard `restricted`, for a pod's specification."""

from __future__ import annotations

from kube import Object

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Object) -> list[str]:
    """Why the pod would be refused; nothing means it is admitted."""
    spec = pod["spec"]
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for one in spec.get(kind, []):
            found += [f"{one['name']}: {what}" for what in _container(one, spec.get("securityContext", {}))]
            if kind == "initContainers" and one.get("restartPolicy") != "Always":
                late = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
                found += [f"{one['name']}: {key} on a plain init container" for key in late if key in one]
    return found


def _container(one: Object, pod: Object) -> list[str]:
    own = one.get("securityContext", {})
    both = {**pod, **own}
    found = []
    if own.get("allowPrivilegeEscalation") is not False:
        found.append("allowPrivilegeEscalation is not false")
    if own.get("privileged"):
        found.append("privileged")
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        found.append("capabilities")
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        found.append("may run as root")
    if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("seccompProfile")
    if any("hostPort" in port for port in one.get("ports", [])):
        found.append("hostPort")
    return found
