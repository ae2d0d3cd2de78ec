"""Infrastructure as code: one policy in the documentation, CloudFormation and Terraform, and stacks that hold it."""

from __future__ import annotations

import functools
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
import stacks
import yaml
from kube import ROOT, run
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

DEPLOY = ROOT / "deploy"
MIRROR = DEPLOY / "cloudformation/mirror.yaml"
ECS = DEPLOY / "cloudformation/ecs.yaml"
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/ABCDEF"
# The values of the placeholders in deploy/policy.json.
EVERYTHING = {
    "BucketName": "your-bucket",
    "Prefix": "your-prefix",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/your-key",
    "TagObjects": "true",
    "Distribution": "true",
    "ApplicationDomain": "app.example.com",
    "ApplicationPath": "/uploads",
    "OidcProviderArn": f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}",
    "OidcIssuer": ISSUER,
    "ClusterName": "production",
    "Ec2Role": "true",
}
# Canned ACLs need a bucket with ACLs, which these buckets are not. A person restores the versions of a moment, not the daemon.
ONLY_DOCUMENTED = {"s3:PutObjectAcl", "s3:ListBucketVersions", "s3:GetObjectVersion"}

Statement = dict[str, Any]


def _source(name: str = "policy.json") -> list[Statement]:
    return json.loads((DEPLOY / name).read_text())["Statement"]


def _everywhere() -> list[Statement]:
    """The statements of both policies."""
    source = _source()
    return source + [one for one in _source("policy-keep.json") if one not in source]


def _actions(statements: list[Statement]) -> dict[str, list[str]]:
    return {one["Sid"]: sorted(one["Action"]) for one in statements}


def _documented(page: str) -> Iterator[Statement]:
    """The statements in the JSON blocks of a page."""
    for block in re.findall(r"```json\n(.*?)```", (ROOT / page).read_text(), re.S):
        found = json.loads(block)
        if "Statement" in found:
            yield from found["Statement"]
        elif "Effect" in found:
            yield found


@pytest.mark.parametrize("page", ["docs/PERMISSIONS.md", "docs/CLOUDFRONT.md"])
def test_the_documentation_has_statements_of_the_policy(page: str) -> None:
    source = [{key: value for key, value in one.items() if key != "Sid"} for one in _everywhere()]
    found = list(_documented(page))
    assert found
    for statement in found:
        assert statement in source, statement


def test_the_documentation_names_every_permission_of_the_policy() -> None:
    pages = "".join((ROOT / page).read_text() for page in ("docs/PERMISSIONS.md", "docs/CLOUDFRONT.md"))
    named = set(re.findall(r"\b(?:s3|kms|cloudfront):[A-Z]\w+", pages))
    assert named == {action for one in _everywhere() for action in one["Action"]} | ONLY_DOCUMENTED


def test_the_policy_for_keep_differs_in_deletes_alone() -> None:
    allowed, kept = ({one["Sid"]: one for one in _source(name)} for name in ("policy.json", "policy-keep.json"))
    assert allowed.pop("Deletes")["Action"] == ["s3:DeleteObject"]
    deny = kept.pop("KeepObjects")
    assert (deny["Effect"], deny["Action"]) == ("Deny", ["s3:DeleteObject", "s3:DeleteObjectVersion"])
    assert kept == allowed


def _mirror(**parameters: str) -> dict[str, Any]:
    return stacks.decided(stacks.load(MIRROR), EVERYTHING | parameters)


@pytest.mark.parametrize("left_out", [{}, {"Distribution": "false", "KmsKeyArn": "", "TagObjects": "false"}])
def test_cloudformation_has_the_policy(left_out: dict[str, str]) -> None:
    statements = _mirror(**left_out)["Resources"]["Policy"]["Properties"]["PolicyDocument"]["Statement"]
    optional = {"ObjectTags", "Key", "Invalidations"} if left_out else set()
    assert _actions(statements) == {sid: of for sid, of in _actions(_source()).items() if sid not in optional}


def test_cloudformation_has_the_policy_for_keep() -> None:
    statements = _mirror(DeletePolicy="keep")["Resources"]["Policy"]["Properties"]["PolicyDocument"]["Statement"]
    assert _actions(statements) == _actions(_source("policy-keep.json"))
    assert [one["Sid"] for one in statements if one["Effect"] != "Allow"] == ["KeepObjects"]


@functools.cache
def _terraform() -> dict[str, dict[str, Any]]:
    """All blocks with two labels, by type and name: `aws_s3_bucket.files`."""
    hcl2 = pytest.importorskip("hcl2", reason="Terraform: the Python package python-hcl2 is not installed")

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key.strip('"'): plain(value) for key, value in node.items()}
        if isinstance(node, list):
            return [plain(value) for value in node]
        return node.strip('"') if isinstance(node, str) else node

    found: dict[str, dict[str, Any]] = {}
    for path in sorted((DEPLOY / "terraform").glob("*.tf")):
        parsed = plain(hcl2.loads(path.read_text()))
        for kind in ("data", "resource"):
            for block in parsed.get(kind, []):
                ((of, named),) = block.items()
                ((name, body),) = named.items()
                found[f"{'data.' if kind == 'data' else ''}{of}.{name}"] = body
        for kind in ("variable", "output"):
            for block in parsed.get(kind, []):
                ((name, body),) = block.items()
                found[f"{kind}.{name}"] = body
    return found


def _terraform_statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    optional = [block["statement"]["content"][0] for block in document.get("dynamic", []) if "statement" in block]
    return [*document["statement"], *optional]


def test_terraform_has_the_policy() -> None:
    statements = _terraform_statements(_terraform()["data.aws_iam_policy_document.mirror"])
    assert {one["sid"]: sorted(one["actions"]) for one in statements} == _actions(_everywhere())
    # Allow is the default.
    assert [one["sid"] for one in statements if one.get("effect", "Allow") != "Allow"] == ["KeepObjects"]
    assert {one["resources"][0] for one in statements[:2]} == {"${local.objects_arn}", "${aws_s3_bucket.files.arn}"}


@pytest.mark.parametrize(
    ("role", "document"),
    [("IrsaRole", "irsa"), ("PodIdentityRole", "pod_identity"), ("InstanceRole", "ec2")],
)
def test_both_trust_the_same_in_the_same_way(role: str, document: str) -> None:
    trust = _mirror()["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]
    trust = json.loads(trust["Fn::Sub"]) if "Fn::Sub" in trust else trust
    (one,) = trust["Statement"]
    (other,) = _terraform()[f"data.aws_iam_policy_document.{document}"]["statement"]
    actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
    assert actions == other["actions"]
    ((kind, principal),) = one["Principal"].items()
    assert other["principals"][0]["type"] == kind
    if kind == "Service":
        assert other["principals"][0]["identifiers"] == [principal]
    conditions = {key.replace("${OidcIssuer}", "") for key in one.get("Condition", {}).get("StringEquals", {})}
    assert conditions == {block["variable"].replace("${var.oidc_issuer}", "") for block in other.get("condition", [])}
    assert {block["test"] for block in other.get("condition", [])} <= {"StringEquals"}


def test_both_have_the_same_parameters_and_outputs() -> None:
    template, terraform = stacks.load(MIRROR), _terraform()

    def snake(name: str) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

    assert {snake(name) for name in template["Parameters"]} == {
        name.removeprefix("variable.") for name in terraform if name.startswith("variable.")
    }
    assert {snake(name) for name in template["Outputs"]} == {
        name.removeprefix("output.") for name in terraform if name.startswith("output.")
    }
    for name, one in template["Parameters"].items():
        default = terraform[f"variable.{snake(name)}"].get("default")
        assert str(default).lower() == str(one.get("Default")).lower(), name


def test_templates_are_clean() -> None:
    done = run(Path(sys.executable).parent / "cfn-lint", "--template", MIRROR, ECS)
    assert done.code == 0, done.said
    rules = ROOT / "tests/packaging/yamllint.yml"
    done = run(Path(sys.executable).parent / "yamllint", "--strict", "-c", rules, MIRROR, ECS)
    assert done.code == 0, done.said


def test_the_bucket_is_private_keeps_old_versions_and_never_loses_a_current_one() -> None:
    template = _mirror()["Resources"]
    bucket, terraform = template["Bucket"], _terraform()
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    closed = bucket["Properties"]["PublicAccessBlockConfiguration"]
    assert len(closed) == 4 and all(closed.values())
    block = terraform["aws_s3_bucket_public_access_block.files"]
    assert [block[name] for name in block if name.startswith(("block_", "ignore_", "restrict_"))] == [True] * 4
    assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    # An object that expired would be missing until its file changes.
    assert not [rule for rule in rules if {"ExpirationInDays", "ExpirationDate", "Transitions"} & set(rule)]
    assert {rule["Id"] for rule in rules} == {
        rule["id"] for rule in terraform["aws_s3_bucket_lifecycle_configuration.files"]["rule"]
    }
    for rule in terraform["aws_s3_bucket_lifecycle_configuration.files"]["rule"]:
        assert set(rule.get("expiration", [{}])[0]) <= {"expired_object_delete_marker", "__is_block__"}
    statements = template["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert [one["Sid"] for one in statements if one["Effect"] == "Allow"] == ["CloudFront"]
    assert statements[1]["Action"] == "s3:GetObject" and "AWS:SourceArn" in statements[1]["Condition"]["StringEquals"]


def test_cloudfront_asks_s3_first_and_then_the_application() -> None:
    config = _mirror()["Resources"]["Cdn"]["Properties"]["DistributionConfig"]
    (group,) = config["OriginGroups"]["Items"]
    assert [one["OriginId"] for one in group["Members"]["Items"]] == ["s3", "application"]
    assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [403, 404]
    behavior = config["DefaultCacheBehavior"]
    assert behavior["TargetOriginId"] == group["Id"] and "POST" not in behavior["AllowedMethods"]
    assert config["Origins"][0]["OriginPath"] == {"Fn::Sub": "/${Prefix}"}
    alone = _mirror(ApplicationDomain="")["Resources"]["Cdn"]["Properties"]["DistributionConfig"]
    assert "OriginGroups" not in alone and alone["DefaultCacheBehavior"]["TargetOriginId"] == "s3"
    distribution = _terraform()["aws_cloudfront_distribution.files"]
    group = next(one["origin_group"] for one in distribution["dynamic"] if "origin_group" in one)["content"][0]
    assert [member["origin_id"] for member in group["member"]] == ["s3", "application"]
    assert group["failover_criteria"][0]["status_codes"] == [403, 404]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("NO_PROXY", "*")


def _apply(name: str, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
    """Creates the stack and answers its outputs."""
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


@pytest.mark.usefixtures("account")
@mock_aws
def test_the_stack_has_the_policy_and_the_roles() -> None:
    template = _mirror()
    # moto knows roles, policies and buckets of CloudFormation; the rest is checked above.
    resources = template["Resources"]
    known = ("AWS::IAM::", "AWS::S3::Bucket")
    template["Resources"] = {name: one for name, one in resources.items() if one["Type"].startswith(known)}
    template["Resources"].pop("BucketPolicy")
    template["Outputs"] = {name: one for name, one in template["Outputs"].items() if "Cdn" not in json.dumps(one)}
    template = json.loads(json.dumps(template).replace("${Cdn}", "E1234567890ABC"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = _apply("mirror", template, EVERYTHING)
    iam = boto3.client("iam")
    version = iam.get_policy_version(PolicyArn=outputs["PolicyArn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"]["Statement"] == _source()
    trust = iam.get_role(RoleName=outputs["IrsaRoleArn"].rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Condition"]["StringEquals"] == {
        f"{ISSUER}:aud": "sts.amazonaws.com",
        f"{ISSUER}:sub": "system:serviceaccount:default:file-sync-service",
    }
    profile = iam.get_instance_profile(InstanceProfileName=outputs["InstanceProfileName"])["InstanceProfile"]
    assert [role["Arn"].rpartition("/")[2][:19] for role in profile["Roles"]] == ["mirror-InstanceRole"]


# What the service asks of S3, and which statement allows it.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "put_object": ("Objects", {"Key": "your-prefix/a"}),
    "get_object": ("Objects", {"Key": "your-prefix/there"}),
    "delete_object": ("Deletes", {"Key": "your-prefix/there"}),
    "list_objects_v2": ("Bucket", {}),
    "list_multipart_uploads": ("Bucket", {}),
}


def _denied(statements: list[Statement], requests: dict[str, dict[str, Any]]) -> set[str]:
    """The requests that a user with this policy may not make."""

    @set_initial_no_auth_action_count(5)
    @mock_aws
    def attempt() -> set[str]:
        s3, iam = boto3.client("s3"), boto3.client("iam")
        s3.create_bucket(Bucket="your-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        s3.put_object(Bucket="your-bucket", Key="your-prefix/there")
        iam.create_user(UserName="mirror")
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName="mirror", PolicyName="mirror", PolicyDocument=policy)
        keys = iam.create_access_key(UserName="mirror")["AccessKey"]
        names = {"aws_access_key_id": "AccessKeyId", "aws_secret_access_key": "SecretAccessKey"}
        client = boto3.client("s3", **{name: keys[key] for name, key in names.items()})
        denied = set()
        for name, arguments in requests.items():
            try:
                getattr(client, name)(Bucket="your-bucket", **arguments)
            except botocore.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDenied", error
                denied.add(name)
        return denied

    return attempt()


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("without", [None, "Objects", "Deletes", "Bucket"])
def test_every_statement_is_needed_and_all_together_are_enough(without: str | None) -> None:
    statements = [one for one in _source() if one["Sid"] != without]
    denied = _denied(statements, {name: arguments for name, (_, arguments) in REQUESTS.items()})
    assert denied == {name for name, (sid, _) in REQUESTS.items() if sid == without}


@pytest.mark.usefixtures("account")
def test_with_the_policy_for_keep_nothing_can_be_deleted_whatever_else_is_allowed() -> None:
    requests = {name: arguments for name, (_, arguments) in REQUESTS.items()}
    statements = _source("policy-keep.json")
    assert _denied(statements, requests) == {"delete_object"}
    everything = {"Sid": "Everything", "Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
    assert _denied([*statements, everything], requests) == {"delete_object"}


@pytest.mark.usefixtures("account")
def test_the_policy_ends_at_the_prefix() -> None:
    outside = {
        "put_object": {"Key": "your-prefix-2/a"},
        "get_object": {"Key": "other"},
        "delete_object": {"Key": "other"},
        "delete_bucket": {},
        "get_bucket_policy": {},
    }
    assert _denied(_source(), outside) == set(outside)


def _camel(node: Any, keep: tuple[str, ...] = ("Options",)) -> Any:
    """CloudFormation's names as ECS itself has them."""
    if isinstance(node, list):
        return [_camel(one) for one in node]
    if not isinstance(node, dict):
        return node
    special = {"EFSVolumeConfiguration": "efsVolumeConfiguration", "FilesystemId": "fileSystemId", "IAM": "iam"}
    return {
        special.get(key, key[0].lower() + key[1:]): value if key in keep else _camel(value)
        for key, value in node.items()
    }


def _task() -> dict[str, Any]:
    def plain(node: Any) -> Any:
        if isinstance(node, dict) and len(node) == 1 and next(iter(node)) in ("Ref", "Fn::GetAtt", "Fn::Sub"):
            return f"value-of-{'-'.join(node.values() if 'Fn::GetAtt' not in node else node['Fn::GetAtt'])}"
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items()}
        return [plain(one) for one in node] if isinstance(node, list) else node

    task = plain(stacks.load(ECS)["Resources"]["Task"]["Properties"])
    return _camel(task) | {"family": "app", "cpu": "512", "memory": "1024"}


@pytest.mark.usefixtures("account")
@mock_aws
def test_ecs_takes_the_task_and_stops_the_sidecar_last() -> None:
    client = boto3.client("ecs")
    # botocore refuses names and types that ECS does not know.
    client.register_task_definition(**_task())
    task = client.describe_task_definition(taskDefinition="app")["taskDefinition"]
    application, sidecar = task["containerDefinitions"]
    assert application["dependsOn"] == [{"containerName": sidecar["name"], "condition": "START"}]
    assert application["essential"] and not sidecar["essential"] and sidecar["restartPolicy"]["enabled"]
    environment = {one["name"]: one["value"] for one in sidecar["environment"]}
    # Fargate kills after 120 seconds at most; the drain has to end before that.
    drain = int(environment["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"])
    assert drain + 15 <= sidecar["stopTimeout"] <= 120
    mounts = {one["containerPath"]: one for one in sidecar["mountPoints"]}
    assert mounts[environment["FILE_SYNC__WATCH_PATH"]]["readOnly"]
    assert not mounts[environment["FILE_SYNC__STATE_DIR"]]["readOnly"]
    assert {one["sourceVolume"] for one in mounts.values()} == {one["name"] for one in task["volumes"]}


def test_the_task_uses_settings_that_exist_and_the_released_image() -> None:
    configuration = (ROOT / "docs/CONFIGURATION.md").read_text()
    sidecar = _task()["containerDefinitions"][1]
    for one in sidecar["environment"]:
        key = one["name"].removeprefix("FILE_SYNC__").lower()
        assert f"\n| `{key}` |" in configuration, key
    image = yaml.safe_load((ROOT / "helm/file-sync-service/Chart.yaml").read_text())["appVersion"]
    assert stacks.load(ECS)["Parameters"]["SyncImage"]["Default"].endswith(f"/file-sync-service:{image}")
    service = stacks.load(ECS)["Resources"]["Service"]["Properties"]
    assert service["DeploymentConfiguration"] == {"MinimumHealthyPercent": 0, "MaximumPercent": 100}
