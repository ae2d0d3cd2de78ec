"""CloudFormation templates as data: conditions decided for given parameters, the rest as it is written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

ABSENT = object()
NO_VALUE = {"Ref": "AWS::NoValue"}


class _Loader(yaml.SafeLoader):
    """Knows the short forms of CloudFormation's functions."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), _Loader)  # noqa: S506


def decided(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """The template without its conditions."""
    values = {name: one.get("Default") for name, one in template["Parameters"].items()} | parameters

    def holds(condition: dict[str, Any]) -> bool:
        ((name, value),) = condition.items()
        if name == "Fn::Not":
            return not holds(value[0])
        assert name == "Fn::Equals", name
        left, right = (values[side["Ref"]] if isinstance(side, dict) else side for side in value)
        return left == right

    true = {name for name, one in template.get("Conditions", {}).items() if holds(one)}

    def walk(node: Any) -> Any:
        if node == NO_VALUE:
            return ABSENT
        if isinstance(node, dict):
            if set(node) == {"Fn::If"}:
                condition, then, otherwise = node["Fn::If"]
                return walk(then if condition in true else otherwise)
            walked = {key: walk(value) for key, value in node.items()}
            return {key: value for key, value in walked.items() if value is not ABSENT}
        if isinstance(node, list):
            return [value for value in map(walk, node) if value is not ABSENT]
        return node

    rest = copy.deepcopy(template)
    rest.pop("Conditions", None)
    for section in ("Resources", "Outputs"):
        kept = {name: one for name, one in rest[section].items() if one.get("Condition", None) in (None, *true)}
        rest[section] = {name: walk({k: v for k, v in one.items() if k != "Condition"}) for name, one in kept.items()}
    return rest
