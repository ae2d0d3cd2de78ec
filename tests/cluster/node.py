"""One real Kubernetes node: etcd, the control plane, containerd, the kubelet and kube-proxy.

It runs in the namespaces that `run` has made: nothing of it is seen outside, and nothing is left of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from common import GROUP, NODE, PATIENCE, PODS, PROGRAMS, SERVICES, WORK, eventually, run

API = f"https://{NODE}:6443"
DNS = "10.96.0.10"
ETCD = "http://127.0.0.1:2379"
ISSUER = "https://kubernetes.default.svc"
CONTAINERD = """
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE runc could not lower the score.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false
"""
BRIDGE = {
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": False,
    "hairpinMode": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
}


class Node:
    """The programs of the node, and what they need."""

    def __init__(self) -> None:
        self.pki, self.logs = WORK / "pki", WORK / "logs"
        self.started: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.seconds = 0.0

    def start(self) -> None:
        began = time.monotonic()
        for folder in (self.pki, self.logs):
            folder.mkdir(parents=True)
        self._places()
        self._network()
        self._control_plane()
        self._worker()
        self.seconds = time.monotonic() - began

    def stop(self) -> None:
        """At once: nothing of it is looked at again, and what they leave goes with the namespaces."""
        for _, process in self.started:
            process.kill()
        for _, process in self.started:
            process.wait(30)

    def versions(self) -> dict[str, str]:
        shown = {}
        for name, arguments in (
            ("etcd", ["--version"]),
            ("kube-apiserver", ["--version"]),
            ("kubelet", ["--version"]),
            ("containerd", ["--version"]),
            ("runc", ["--version"]),
        ):
            shown[name] = run(name, *arguments).out.splitlines()[0]
        return shown

    # --- what lies around it

    def _places(self) -> None:
        """Folders of the work directory at the places that the programs expect, seen in here alone."""
        run("mount", "--make-rprivate", "/").fine()
        for path in os.environ["CLUSTER_PLACES"].split(":"):
            own = WORK / "root" / path.lstrip("/")
            own.mkdir(parents=True)
            run("mount", "--bind", own, path).fine()
        run("mount", "--make-rshared", "/").fine()

    def _network(self) -> None:
        """The node's address on a veth pair, and a bridge for the pods; no way out."""
        for arguments in (
            "link set lo up",
            "link add node0 type veth peer name node0-peer",
            "link set node0-peer up",
            f"addr add {NODE}/24 dev node0",
            "link set node0 up",
            f"route add default via {NODE} dev node0",
        ):
            run("ip", *arguments.split()).fine()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/etc/cni/net.d").mkdir()
        plugins = [BRIDGE, {"type": "portmap", "capabilities": {"portMappings": True}}]
        text = json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins})
        Path("/etc/cni/net.d/10-bridge.conflist").write_text(text)

    # --- keys

    def _openssl(self, *arguments: object) -> None:
        run("openssl", *arguments).fine()

    def _certificate(self, name: str, subject: str, names: str = "") -> tuple[Path, Path]:
        key, request, certificate = (self.pki / f"{name}.{end}" for end in ("key", "csr", "crt"))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._openssl("req", "-new", *curve, "-keyout", key, "-out", request, "-subj", subject)
        extensions = self.pki / f"{name}.ext"
        alternatives = f"subjectAltName={names}\n" if names else ""
        extensions.write_text(f"extendedKeyUsage=serverAuth,clientAuth\n{alternatives}")
        authority = ("-CA", self.pki / "ca.crt", "-CAkey", self.pki / "ca.key", "-CAcreateserial")
        self._openssl(
            "x509", "-req", "-in", request, *authority, "-days", 2, "-out", certificate, "-extfile", extensions
        )
        return certificate, key

    def _kubeconfig(self, name: str, subject: str) -> Path:
        certificate, key = self._certificate(name, subject)
        path = WORK / f"{name}.kubeconfig"
        cluster = {"server": API, "certificate-authority": str(self.pki / "ca.crt")}
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        config |= {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}]}
        config |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
        path.write_text(json.dumps(config))
        return path

    # --- programs

    def _spawn(self, name: str, *arguments: object) -> None:
        log = (self.logs / f"{name}.log").open("ab")
        command = [str(PROGRAMS / name), *map(str, arguments)]
        self.started.append((name, subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)))

    def _wait(self, what: str, probe: Callable[[], bool], seconds: float = 120) -> None:
        def there() -> bool:
            for name, process in self.started:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            return probe()

        eventually(what, there, seconds)

    def log(self, name: str, lines: int = 20) -> str:
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def _control_plane(self) -> None:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2)
        authority = ("-keyout", self.pki / "ca.key", "-out", self.pki / "ca.crt", "-subj", "/CN=cluster")
        self._openssl("req", "-x509", *curve, *authority)
        self._openssl("genrsa", "-out", self.pki / "sa.key", "2048")
        self._openssl("rsa", "-in", self.pki / "sa.key", "-pubout", "-out", self.pki / "sa.pub")
        names = f"IP:{NODE},IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc,DNS:localhost"
        certificate, key = self._certificate("apiserver", "/CN=kube-apiserver", names)
        client, client_key = self._certificate("apiserver-kubelet", "/O=system:masters/CN=apiserver")
        admin = self._kubeconfig("admin", "/O=system:masters/CN=admin")
        urls = (f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}")
        peers = "--listen-peer-urls=http://127.0.0.1:2380"
        self._spawn("etcd", f"--data-dir={WORK}/etcd", "--unsafe-no-fsync", *urls, peers, "--log-level=warn")
        self._spawn(
            "kube-apiserver",
            *(f"--etcd-servers={ETCD}", f"--advertise-address={NODE}", f"--service-cluster-ip-range={SERVICES}"),
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"),
            *(f"--client-ca-file={self.pki}/ca.crt", "--kubelet-preferred-address-types=InternalIP"),
            *(f"--kubelet-client-certificate={client}", f"--kubelet-client-key={client_key}"),
            *(f"--service-account-issuer={ISSUER}", f"--api-audiences={ISSUER}"),
            *(f"--service-account-signing-key-file={self.pki}/sa.key", f"--service-account-key-file={self.pki}/sa.pub"),
            *("--allow-privileged", "--profiling=false"),
        )
        ready = ("kubectl", "--kubeconfig", admin, "get", "--raw", "/readyz")
        self._wait("the API server is ready", lambda: run(*ready).out == "ok")
        keys = (f"--service-account-private-key-file={self.pki}/sa.key", f"--root-ca-file={self.pki}/ca.crt")
        self._controller("kube-controller-manager", "--use-service-account-credentials", *keys)
        self._controller("kube-scheduler")

    def _controller(self, name: str, *more: str) -> None:
        config = self._kubeconfig(name, f"/CN=system:{name}")
        kinds = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        self._spawn(name, *(f"--{kind}={config}" for kind in kinds), "--leader-elect=false", *more)

    def _worker(self) -> None:
        (WORK / "containerd.toml").write_text(CONTAINERD)
        self.start_containerd()
        self._kubelet_config()
        self.start_kubelet()
        proxy = self._kubeconfig("kube-proxy", "/CN=system:kube-proxy")
        untouched = {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
        }
        config |= {"clusterCIDR": PODS, "hostnameOverride": "node1", "conntrack": untouched}
        config |= {"clientConnection": {"kubeconfig": str(proxy)}}
        (WORK / "proxy.yaml").write_text(json.dumps(config))
        self._spawn("kube-proxy", f"--config={WORK}/proxy.yaml")
        condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        asked = ("kubectl", "--kubeconfig", WORK / "admin.kubeconfig", "get", "node", "node1", "-o", condition)
        self._wait("the node is Ready", lambda: run(*asked).out == "True")

    def start_containerd(self) -> None:
        self._spawn("containerd", "--config", WORK / "containerd.toml")
        self._wait("containerd answers", lambda: run("ctr", "version").code == 0)

    def start_kubelet(self) -> None:
        config = (f"--kubeconfig={WORK}/kubelet.kubeconfig", f"--config={WORK}/kubelet.yaml")
        self._spawn("kubelet", *config, "--hostname-override=node1", f"--node-ip={NODE}")

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """One of the programs, as a crash or an upgrade would."""
        (one,) = [entry for entry in self.started if entry[0] == name]
        self.started.remove(one)
        one[1].send_signal(number)
        one[1].wait(30 * PATIENCE)

    def _kubelet_config(self) -> None:
        self._kubeconfig("kubelet", "/O=system:nodes/CN=system:node:node1")
        certificate, key = self._certificate("kubelet-server", "/CN=node1", f"IP:{NODE},DNS:node1")
        authentication = {"anonymous": {"enabled": False}, "webhook": {"enabled": True}}
        authentication |= {"x509": {"clientCAFile": str(self.pki / "ca.crt")}}
        # A full disk is the machine's own affair.
        eviction = {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"}
        config = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
        config |= {"failCgroupV1": False, "failSwapOn": False, "cgroupDriver": "cgroupfs", "address": NODE}
        config |= {"cgroupRoot": f"/{GROUP}", "enforceNodeAllocatable": ["pods"]}
        config |= {"authentication": authentication, "authorization": {"mode": "Webhook"}}
        config |= {"tlsCertFile": str(certificate), "tlsPrivateKeyFile": str(key), "healthzBindAddress": "127.0.0.1"}
        config |= {"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock"}
        config |= {"imageGCHighThresholdPercent": 100, "evictionHard": eviction | {"nodefs.inodesFree": "0%"}}
        config |= {"resolvConf": "", "clusterDNS": [DNS], "clusterDomain": "cluster.local"}
        (WORK / "kubelet.yaml").write_text(json.dumps(config))
