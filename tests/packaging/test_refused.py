"""Values that cannot be right end in an error that says what, at rendering."""

from __future__ import annotations

import pytest
from kube import APPLICATION, Helm

MINIMAL = {"config.s3_bucket": "example", "source.existingClaim": "uploads"}
NO_PROBES: dict[str, object] = {f"probes.{one}.enabled": False for one in ("startup", "liveness", "readiness")}
DIGEST = "sha256:" + "0" * 64

# What is set, and what the error has to name.
WRONG: list[tuple[dict[str, object], list[str]]] = [
    ({"config.s3_bucket": ""}, ["config.s3_bucket is required"]),
    ({"config.s3_bukcet": "x"}, ["s3_bukcet"]),
    ({"config.watch_path": "/data"}, ["watch_path"]),
    ({"config.state_dir": "/state"}, ["state_dir"]),
    ({"config.retry_interval_seconds": "5m"}, ["retry_interval_seconds"]),
    ({"config.retry_interval_seconds": 100000}, ["retry_interval_seconds"]),
    ({"config.watch_mode": "inotify"}, ["watch_mode"]),
    ({"config.delete_policy": "never"}, ["delete_policy"]),
    ({"config.ignore": "*.bak"}, ["ignore"]),
    ({"config.ignore_defaults": "sometimes"}, ["ignore_defaults"]),
    ({"config.cloudfront_enabled": True}, ["cloudfront_distribution_id is required"]),
    ({"config.listen_address": "0.0.0.0"}, ["has no port"]),
    ({"config.listen_address": "off"}, ["the probes need one", "probes.liveness.enabled"]),
    ({"config.listen_address": "off", "podMonitor.enabled": True, **NO_PROBES}, ["has no metrics for podMonitor"]),
    ({"config.admin_socket": "off"}, ["leaves preStop no way"]),
    ({"config.shutdown_timeout_seconds": 116}, ["do not fit into terminationGracePeriodSeconds"]),
    ({"terminationGracePeriodSeconds": 5}, ["terminationGracePeriodSeconds"]),
    ({"terminationGracePeriodSeconds": 30, "config.shutdown_timeout_seconds": 28}, ["do not fit"]),
    ({"config.transfer_memory_mib": 512}, ["resources.limits.memory"]),
    ({"resources.limits.memory": "128Mi"}, ["resources.limits.memory"]),
    ({"mode": "cronjob"}, ["mode"]),
    ({"replicaCount": 2}, ["replicaCount"]),
    ({"replicaCount": -1}, ["replicaCount"]),
    ({"mode": "deployment", "replicaCount": 3}, ["replicaCount"]),
    ({"replicaCount": 3, "sharding.enabled": True, "mode": "deployment"}, ["pods of mode deployment have no index"]),
    ({"replicaCount": 3, "sharding.enabled": True, "state.type": "emptyDir"}, ["a claim of its own"]),
    ({"replicaCount": 3, "sharding.enabled": True, "state.existingClaim": "x"}, ["a claim of its own"]),
    ({"replicaCount": 0, "sharding.enabled": True}, ["replicaCount"]),
    ({"replicaCount": 3, "sharding.enabled": True, "config.shard_count": 2}, ["config.shard_count: follows from"]),
    ({"sharding.enabled": True, "config.shard_index": 0}, ["config.shard_index: follows from"]),
    ({"sharding.depth": 0}, ["depth"]),
    ({"sharding.count": 3}, ["count"]),
    ({"sharding.enabled": True, "ordinals.start": 1}, ["ordinals"]),
    ({"config.shard_index": -1}, ["shard_index"]),
    ({"image.digest": "sha256:short"}, ["digest"]),
    ({"image.pullPolicy": "Sometimes"}, ["pullPolicy"]),
    ({"image.name": "x"}, ["name"]),
    ({"source.existingClaim": ""}, ["source.existingClaim is required"]),
    ({"source.volume.emptyDir.sizeLimit": "1Gi"}, ["source.existingClaim and source.volume"]),
    ({"source.mountPath": "data"}, ["mountPath"]),
    ({"source.mountPath": "/"}, ["source.mountPath"]),
    ({"source.mountPath": "/var/lib"}, ["source.mountPath"]),
    ({"source.mountPath": "/var/lib/file-sync-service/in"}, ["source.mountPath"]),
    ({"source.subPath": "/absolute"}, ["subPath"]),
    ({"state.type": "memory"}, ["state"]),
    ({"state.size": "a lot"}, ["size"]),
    ({"state.type": "hostPath", "state.hostPath": "/x"}, ["it is for mode daemonset"]),
    ({"mode": "daemonset"}, ["state.type: pvc"]),
    ({"mode": "daemonset", "state.type": "hostPath"}, ["state.hostPath is required"]),
    ({"state.type": "emptyDir", "state.existingClaim": "x"}, ["state.existingClaim"]),
    ({"state.existingClaim": "uploads"}, ["must not lie on the volume that is mirrored"]),
    ({"state.retention.whenScaled": "Recycle"}, ["whenScaled"]),
    ({"state.accessModes[0]": "ReadOnlyMany"}, ["accessModes"]),
    ({"aws.roleArn": "uploads"}, ["roleArn"]),
    ({"aws.roleArn": "arn:aws:iam::123456789012:role/x", "aws.existingSecret": "s"}, ["static keys would win"]),
    ({"aws.roleArn": "arn:aws:iam::123456789012:role/x", "serviceAccount.create": False}, ["aws.roleArn"]),
    ({"aws.secretAccessKey": "hunter2"}, ["secretAccessKey"]),
    ({"existingConfigMap": "mine"}, ["existingConfigMap and config"]),
    ({"podMonitor.enabled": True, "serviceMonitor.enabled": True}, ["podMonitor and serviceMonitor"]),
    ({"prometheusRule.disabled[0]": "NoSuchAlert"}, ["there is no alert NoSuchAlert"]),
    ({"otel.endpoint": "collector:4317"}, ["endpoint"]),
    ({"otel.endpoint": "http://c:4317", "otel.useHostIP": True}, ["otel.endpoint and otel.useHostIP"]),
    ({"otel.protocol": "http/json"}, ["protocol"]),
    ({"extraEnv[0].name": "AWS_EC2_METADATA_DISABLED"}, ["stands twice"]),
    ({"extraEnv[0].name": "A", "extraEnv[1].name": "A"}, ["stands twice"]),
    ({"openshift": "yes"}, ["openshift"]),
    ({"podLabels.y": 2024}, ["podLabels"]),
    ({"nodeSelector.fast": True}, ["nodeSelector"]),
    ({"podDisruptionBudget.maxUnavailable": "2"}, ["maxUnavailable"]),
    ({"fullnameOverride": "n" * 53}, ["fullnameOverride"]),
    ({"probes.startup.path": True, "unknown": 1}, ["unknown"]),
]


def settings(values: dict[str, object]) -> list[str]:
    """As arguments; texts stay texts."""
    arguments = []
    for key, value in values.items():
        kind = "--set-string" if isinstance(value, str) else "--set"
        shown = str(value).lower() if isinstance(value, bool) else value
        arguments += [kind, f"{key}={shown}"]
    return arguments


@pytest.mark.parametrize(("wrong", "named"), WRONG, ids=lambda one: " ".join(one) if isinstance(one, dict) else "")
def test_wrong_values_are_refused_with_a_reason(helm: Helm, wrong: dict[str, object], named: list[str]) -> None:
    done = helm("template", "example", APPLICATION, *settings({**MINIMAL, **wrong}))
    assert done.code != 0, f"accepted: {wrong}"
    for text in named:
        assert text in done.err, done.err


def test_the_same_without_the_mistake_is_accepted(helm: Helm) -> None:
    """The table above would prove nothing if its base were wrong."""
    done = helm("template", "example", APPLICATION, *settings(MINIMAL))
    assert done.code == 0, done.said
