"""Goes the documented way to deploy, in a copy of infra/, as far as the local stack lets it.

What `./deploy` leaves is translated as CloudFormation would: SAM names a function's version by what it hashes, and
only a version of another name is published, and gets the alias.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[3]
COPY = Path(os.environ["BINDERY_LOCAL_DIR"]).resolve() / "deployment"
INFRA = COPY / "infra"
BUILT = INFRA / ".aws-sam" / "build" / "template.yaml"
TOOLS = Path(sys.executable).parent
# What the local stack says once everything is packaged: these it does not have.
UNKNOWN = ("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup", "AWS::Events::Archive")
AT_LAST = f"Unrecognized resource types: [{', '.join(UNKNOWN)}]"


def run(*command: str | Path, folder: Path = INFRA, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, run in the copied folder."""
    path = f"{TOOLS}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def build() -> None:
    """Writes the template of packages that are empty but for a line."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT / "infra", INFRA, ignore=shutil.ignore_patterns(".aws-sam", "__pycache__"))
    for manifest in (ROOT / "functions").glob("*/Cargo.toml"):
        package = COPY / "target" / "lambda" / manifest.parent.name / "bootstrap"
        package.parent.mkdir(parents=True)
        package.write_text("#!/bin/sh\n")
    done = run(sys.executable, "-m", "stack", "prebuilt", PYTHONPATH=str(INFRA / "local"))
    assert done.returncode == 0, done.stderr


def deploy(*options: str) -> set[str]:
    """Deploys as far as it goes; answers the names of the functions' versions."""
    done = run("./deploy", "dev", *options)
    assert done.returncode == 0 or AT_LAST in done.stderr, done.stdout + done.stderr
    template = yaml_parse(BUILT.read_text())
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # As `sam deploy` uploads it.
            resource["Properties"]["CodeUri"] = {"Bucket": "packages", "Key": name}
    parameters = {"JwtIssuer": "https://issuer.example", "JwtAudience": "bindery"}
    translated = transform(template, parameters, SimpleNamespace(load=dict))["Resources"]
    versions = {name for name, resource in translated.items() if resource["Type"] == "AWS::Lambda::Version"}
    assert len(versions) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), versions
    return versions


def main() -> None:
    """Deploys as it is, and then, without asking the local stack, again and with another parameter."""
    build()
    config = INFRA / "samconfig.toml"
    as_it_is = deploy("--no-execute-changeset")
    assert deploy("--help") == as_it_is, "nothing has changed, and yet there are new versions"
    section = config.read_text().split("[dev.deploy.parameters]")
    section[1] = section[1].replace('RestoredTable=""', "RestoredTable=bindery-dev-restored", 1)
    config.write_text("[dev.deploy.parameters]".join(section))
    assert deploy("--help").isdisjoint(as_it_is), "another table does not reach the functions that run"

    refused = run("./deploy", "dev", "--parameter-overrides", "Paused=true")
    assert refused.returncode == 1 and "samconfig.toml" in refused.stderr, refused
    assert run("./deploy", "nowhere").returncode == 1
    deploy_a_release()


def deploy_a_release() -> None:
    """Packs a release, and deploys it from its files alone."""
    release = COPY / "release"
    packed = run(sys.executable, "-m", "stack", "release", release, "x86_64", PYTHONPATH=str(INFRA / "local"))
    assert packed.returncode == 0, packed.stderr
    zips = sorted(release.glob("*-x86_64.zip"))
    assert len(zips) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), zips
    for file in zips:
        with zipfile.ZipFile(file) as archive:
            (entry,) = archive.infolist()
            assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o100755), file
    shutil.rmtree(INFRA)
    done = run("./deploy", "dev", "--template-file", "template-x86_64.yaml", "--no-execute-changeset", folder=release)
    assert AT_LAST in done.stderr, done.stdout + done.stderr
    template = yaml_parse((release / "template-x86_64.yaml").read_text())
    assert template["Parameters"]["Architecture"]["Default"] == "x86_64"


main()
