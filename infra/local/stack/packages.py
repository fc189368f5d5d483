"""Packs the functions that `cargo lambda build` has built, and writes their template: infra/prebuilt, infra/release."""

import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_dump

from .deploy import functions_of
from .settings import INFRA, ROOT, StackError
from .template import read_template

BUILT = ROOT / "target" / "lambda"
MATERIALS = "bindery-functions.cdx.json"
# The time of all entries of a zip, so that the same binary gives the same file. It is the format's earliest.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def prebuilt() -> None:
    """Writes the template where `sam build` would write it, with the same content."""
    file = INFRA / ".aws-sam" / "build" / "template.yaml"
    directory = Path(os.path.relpath(BUILT, file.parent))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml_dump(_with_packages(read_template(), lambda name: str(directory / name))))
    print(f"Wrote {file.relative_to(ROOT)}")


def release(directory: Path, architecture: str) -> None:
    """Writes a zip for each function, their bill of materials, the template, and the files that deploy it."""
    directory.mkdir(parents=True, exist_ok=True)
    template = _with_packages(read_template(), lambda name: f"{name}-{architecture}.zip")
    template["Parameters"]["Architecture"]["Default"] = architecture
    for resource in functions_of(template["Resources"]).values():
        file = directory / resource["Properties"]["CodeUri"]
        _zip(_built(Path(file.name.removesuffix(f"-{architecture}.zip")) / "bootstrap", architecture), file)
    (directory / f"template-{architecture}.yaml").write_text(yaml_dump(template))
    shutil.copy2(_built(Path(MATERIALS), architecture), directory / MATERIALS.replace(".", f"-{architecture}.", 1))
    for name in ("deploy", "samconfig.toml"):
        shutil.copy2(INFRA / name, directory)


def _built(name: Path, architecture: str) -> Path:
    file = BUILT / name
    if not file.exists():
        raise StackError(f"{file.relative_to(ROOT)} is missing: run ./infra/prebuilt {architecture}")
    return file


def _with_packages(template: dict[str, Any], package: Callable[[str], str]) -> dict[str, Any]:
    """Sets each function's package, so that SAM does not build it again."""
    for resource in functions_of(template["Resources"]).values():
        name = resource.pop("Metadata")["BuildProperties"]["Binary"]
        resource["Properties"]["CodeUri"] = package(name)
    return template


def _zip(binary: Path, file: Path) -> None:
    entry = zipfile.ZipInfo("bootstrap", ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, so that the permissions below apply
    entry.external_attr = (stat.S_IFREG | 0o755) << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=9)
