"""The commands of the documentation, pasted as they are on a cluster without anything: each works, and a file arrives.

What the documentation cannot bring stands in: S3 and its credentials, as of a role, and a program for the application
of an example. A policy of the tests adds both; no command is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from api import Api, Object, Provisioner
from common import HELMS, KUBECTLS, PATIENCE, ROOT, TOOLS, eventually
from store import DOCUMENTED, ENDPOINT, KEY, SECRET, Store

NAME = "stand-in"
WITHIN = 120
FOLDERS = "/var/www/uploads /var/lib/documents"
WRITER = f"trap exit TERM; while true; do for one in {FOLDERS}; do echo hello >$one/hello.txt; done; sleep 1; done"


@dataclass(frozen=True)
class Page:
    """Where commands are, in which namespace they work, and the prefix of what arrives."""

    path: str
    heading: str
    namespace: str
    prefix: str
    claim: str | None = None

    def commands(self) -> str:
        """Blocks below the heading, or the lines of a comment."""
        text = (ROOT / self.path).read_text()
        if not self.path.endswith(".md"):
            return "\n".join(line[4:] for line in text.splitlines() if line.startswith("#   kubectl"))
        section = re.split(r"^## ", text, flags=re.M)
        (found,) = [one for one in section if one.startswith(self.heading)]
        blocks = re.findall(r"^```sh\n(.*?)^```", found, re.M | re.S)
        # Needs an engine, and a registry of one's own; `make packaging` builds the image.
        return "\n".join(one for one in blocks if not one.startswith("docker"))


PAGES = [
    Page("README.md", "Kubernetes", "uploads", "uploads", "uploads"),
    Page("helm/file-sync-service/README.md", "Install", "uploads", "uploads", "uploads"),
    Page("docs/INJECTION.md", "Five minutes", "demo", "demo"),
    Page("k8s/sidecar/deployment.yaml", "", "web", "uploads"),
    Page("k8s/examples/web/kustomization.yaml", "", "web", "uploads"),
    Page("k8s/examples/statefulset/kustomization.yaml", "", "documents", "documents/documents-0"),
]


def stand_in() -> Iterator[Object]:
    """Adds what EKS and an application would bring."""
    more = {"FILE_SYNC__S3_ENDPOINT_URL": ENDPOINT, "FILE_SYNC__S3_FORCE_PATH_STYLE": "true"}
    more |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def added(kind: str) -> str:
        steps = [
            f'JSONPatch{{op: "add", path: "/spec/{kind}/" + string(variables.{kind}.indexOf("file-sync")) + "/env/-",'
            f' value: Object.spec.{kind}.env{{name: "{name}", value: "{value}"}}}}'
            for name, value in more.items()
        ]
        return f'("file-sync" in variables.{kind} && !variables.there ? [{", ".join(steps)}] : [])'

    program = 'JSONPatch{op: "add", path: "/spec/containers/0/command", value: ["sh", "-c", "' + WRITER + '"]}'
    application = 'object.spec.containers[0].name in ["web", "documents"] && !has(object.spec.containers[0].command)'
    kinds = ("containers", "initContainers")
    lists = {kind: f"has(object.spec.{kind}) ? object.spec.{kind}.map(c, c.name) : []" for kind in kinds}
    ours = "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
    lists["there"] = f'({ours}).exists(c, has(c.env) && c.env.exists(e, e.name == "FILE_SYNC__S3_ENDPOINT_URL"))'
    expression = " + ".join([*map(added, kinds), f"({application} ? [{program}] : [])"])
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    version = "admissionregistration.k8s.io/v1"
    spec = {"failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded", "matchConstraints": {"resourceRules": [rule]}}
    spec["variables"] = [{"name": name, "expression": text} for name, text in lists.items()]
    spec["mutations"] = [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]
    yield {"apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": NAME}, "spec": spec}
    names = sorted({page.namespace for page in PAGES})
    here = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}
    bound = {"policyName": NAME, "matchResources": {"namespaceSelector": {"matchExpressions": [here]}}}
    kind = "MutatingAdmissionPolicyBinding"
    yield {"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, "spec": bound}


@pytest.fixture(scope="module", autouse=True)
def aws(api: Api) -> Iterator[None]:
    text = yaml.safe_dump_all(stand_in())
    api.kubectl("apply", "--filename", "-", stdin=text).fine()
    yield
    api.kubectl("delete", "--filename", "-", stdin=text)


@pytest.fixture
def paste(api: Api, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A shell in a copy of the sources, with the newest clients."""
    for folder in ("k8s", "helm"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name, value in (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        (tmp_path / name).write_text(value)
    programs = [TOOLS / HELMS["helm-4.2"] / "helm", TOOLS / KUBECTLS["kubectl-1.36"] / "kubectl"]
    environment = {**os.environ, "KUBECONFIG": str(api.config), "HOME": str(tmp_path)}
    environment["PATH"] = ":".join([*map(str, programs), os.environ["PATH"]])

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-euxo", "pipefail", "-c", commands]
        return subprocess.run(
            shell,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300 * PATIENCE,
        )

    return run


@pytest.fixture
def empty(api: Api, store: Store) -> Iterator[None]:
    """No namespace of the documentation, and nothing in its bucket; policies that a page has applied go again."""
    yield
    for name in sorted({page.namespace for page in PAGES}):
        api.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=300s").fine()
    api.kubectl("delete", "--ignore-not-found", "--filename", ROOT / "k8s/injection/policies.yaml")
    for one in store.s3.list_objects_v2(Bucket=DOCUMENTED).get("Contents", []):
        store.s3.delete_object(Bucket=DOCUMENTED, Key=one["Key"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_what_the_documentation_says_works_as_it_is_written(
    api: Api, provisioner: Provisioner, store: Store, paste: Callable, empty: None, page: Page
) -> None:
    commands = page.commands()
    assert commands.count("kubectl") >= 2, commands
    done = paste(commands)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Warning" not in done.stderr, done.stderr
    if page.claim:
        file = provisioner.folder(page.namespace, page.claim) / "hello.txt"
        file.write_text("hello\n")
        file.chmod(0o644)
    try:
        eventually("a file is in the bucket", lambda: store.keys(page.prefix, DOCUMENTED), WITHIN)
    except AssertionError as late:
        seen = ("get", "pods,events", "--output=wide")
        raise AssertionError(f"{late}\n{api.kubectl('--namespace', page.namespace, *seen).out}") from None


def test_every_page_with_commands_for_a_cluster_is_among_them() -> None:
    """A new page that installs something has to be tried as well."""
    known = {page.path for page in PAGES}
    # Overlays with a class of volumes that only EKS has, and a Job without its own image.
    known |= {f"k8s/examples/{name}/kustomization.yaml" for name in ("efs", "shards", "job")}
    # The same chart with one value more, and the policies of docs/INJECTION.md.
    known |= {"helm/file-sync-injection/README.md"}
    found = set()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("helm/*/README.md"), *ROOT.glob("k8s/**/*.*")]:
        if re.search(r"^(#   )?(kubectl (apply|.* apply)|helm install)", path.read_text(), re.M):
            found.add(str(path.relative_to(ROOT)))
    assert found <= known, found - known
