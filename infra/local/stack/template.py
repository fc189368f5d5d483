"""Expands the loops of infra/template.yaml. The result is what is deployed, tested and linted.

AWS::LanguageExtensions does the same when a template with loops reaches AWS (after `sam build`). This module supports
only what the template needs. Unlike AWS and the SAM CLI's own expansion, it does not resolve parameters and conditions,
because the tests check the template and not one deployment of it. As on AWS, it replaces a loop's identifier in the
keys of the fragment, in the text of Fn::Sub and in Ref, and nowhere else.
"""

import re
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

from .settings import INFRA, StackError

LOOP = "Fn::ForEach::"
EXTENSIONS = "AWS::LanguageExtensions"


def read_template(file: Path = INFRA / "template.yaml") -> dict[str, Any]:
    """Returns the template as SAM reads it, without loops and mappings."""
    template = yaml_parse(file.read_text())
    mappings = template.pop("Mappings", {})
    for section in ("Resources", "Outputs"):
        template[section] = resolve(_expand(template[section]), mappings)
    transforms = [name for name in template["Transform"] if name != EXTENSIONS]
    return {**template, "Transform": transforms[0] if len(transforms) == 1 else transforms}


def _expand(section: dict[str, Any]) -> dict[str, Any]:
    """Returns the section with each loop replaced by its resources."""
    expanded: dict[str, Any] = {}
    for key, value in section.items():
        made = {key: value}
        if key.startswith(LOOP):
            identifier, collection, fragment = value
            made = {
                name.replace(f"${{{identifier}}}", item): _replace(one, identifier, item)
                for item in collection
                for name, one in fragment.items()
            }
        if twice := made.keys() & expanded:
            raise StackError(f"infra/template.yaml: {key} makes {', '.join(sorted(twice))} again")
        expanded |= made
    return expanded


def _replace(value: Any, identifier: str, item: str) -> Any:
    """Returns a copy of the value with the identifier replaced by the item."""
    match value:
        case {"Ref": str(name)} if name == identifier:
            return item
        case {"Fn::Sub": str(text)}:
            return {"Fn::Sub": text.replace(f"${{{identifier}}}", item)}
        case {"Fn::Sub": [str(text), variables]}:
            return {"Fn::Sub": [text.replace(f"${{{identifier}}}", item), _replace(variables, identifier, item)]}
        case dict():
            return {key: _replace(one, identifier, item) for key, one in value.items()}
        case list():
            return [_replace(one, identifier, item) for one in value]
        case _:
            return value


def resolve(value: Any, mappings: dict[str, Any]) -> Any:
    """Returns the value with mappings resolved. An Fn::Sub without variables becomes a plain text."""
    match value:
        case {"Fn::FindInMap": [name, key, attribute]}:
            try:
                return mappings[name][key][attribute]
            except KeyError:
                raise StackError(f"infra/template.yaml: the mapping {name} has no {attribute} of {key}") from None
        case {"Fn::Sub": [str(text), variables]}:
            known = resolve(variables, mappings)
            left = {name: one for name, one in known.items() if not isinstance(one, str)}
            for name in known.keys() - left:
                text = text.replace(f"${{{name}}}", known[name])
            return {"Fn::Sub": [text, left]} if left else _text(text)
        case {"Fn::Sub": str(text)}:
            return _text(text)
        case dict():
            return {key: resolve(one, mappings) for key, one in value.items()}
        case list():
            return [resolve(one, mappings) for one in value]
        case _:
            return value


def _text(text: str) -> Any:
    """Returns the text, within Fn::Sub if it has variables."""
    return {"Fn::Sub": text} if re.search(r"\$\{", text) else text
