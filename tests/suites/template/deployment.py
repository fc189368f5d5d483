"""Goes the documented way to deploy, in a copy of infra/, as far as the local stack lets it.

What `./deploy` leaves is translated as CloudFormation would: SAM names a function's version by what it hashes, and
only a version of another name is published, and gets the alias.

What it looks at before, it looks at with a `sam` that does nothing, and an `aws` that answers what is wanted.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from checks import Request, Response, serving
from ministack.services.cloudformation import language_extensions
from samcli.lib.cfn_language_extensions.sam_integration import expand_language_extensions
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "infra" / "local"))
from stack.template import read_template, resolve  # noqa: E402

COPY = Path(os.environ["BINDERY_LOCAL_DIR"]).resolve() / "deployment"
INFRA = COPY / "infra"
CONFIG = INFRA / "samconfig.toml"
# What ./deploy finds enough.
LEAST_CONCURRENCY = 200
FAKES = COPY / "fakes"
BUILT = INFRA / ".aws-sam" / "build" / "template.yaml"
TOOLS = Path(sys.executable).parent
# What the local stack says once everything is packaged: these it does not have.
UNKNOWN = ("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup", "AWS::Events::Archive")
AT_LAST = f"Unrecognized resource types: [{', '.join(UNKNOWN)}]"
WELL_KNOWN = "/.well-known/openid-configuration"
# Says where to; and to whom, and what it was asked for, or that it may not.
SAM = """#!/bin/sh
echo "sam deploys to ${AWS_DEFAULT_REGION-}"
"""
AWS = """#!/bin/sh
echo "$@" >"${0%/*}/asked"
[ -n "${QUOTA-}" ] && echo "$QUOTA"
"""
# All that ./deploy calls but sam and aws.
CALLED = ("awk", "bash", "cksum", "curl", "cut", "dirname", "grep", "mv", "sed")


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
    (COPY / "target" / "lambda" / "bindery-functions.cdx.json").write_text("{}\n")
    done = run(sys.executable, "-m", "stack", "prebuilt", PYTHONPATH=str(INFRA / "local"))
    assert done.returncode == 0, done.stderr


def as_translated() -> dict[str, dict]:
    """The resources of the built template, as CloudFormation makes them."""
    template = yaml_parse(BUILT.read_text())
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # As `sam deploy` uploads it.
            resource["Properties"]["CodeUri"] = {"Bucket": "packages", "Key": name}
    parameters = {"JwtIssuer": "https://issuer.example", "JwtAudience": "bindery"}
    return transform(template, parameters, SimpleNamespace(load=dict))["Resources"]


def deploy(*options: str) -> set[str]:
    """Deploys as far as it goes; answers the names of the functions' versions."""
    done = run("./deploy", "dev", *options)
    assert done.returncode == 0 or AT_LAST in done.stderr, done.stdout + done.stderr
    translated = as_translated()
    versions = {name for name, resource in translated.items() if resource["Type"] == "AWS::Lambda::Version"}
    assert len(versions) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), versions
    assert {version for version, _ in crash_alarms(translated)} == versions, "an alarm watches another version"
    return versions


def crash_alarms(resources: dict[str, dict]) -> list[tuple[str, dict]]:
    """The alarms on the crashes of one version, with that version."""
    alarms = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    found = []
    for alarm in alarms:
        stats = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
        values = {d["Name"]: d["Value"] for stat in stats for d in stat["Dimensions"] if stat["MetricName"] == "Errors"}
        if "ExecutedVersion" in values:
            version, attribute = values["ExecutedVersion"]["Fn::GetAtt"]
            assert attribute == "Version", values
            found.append((version, alarm))
    return found


def crashes_stop_a_deployment_if_the_new_version_is_broken() -> None:
    """Plays the alarms: so many of so many runs of the new version, in the five minutes of a deployment, crashed."""
    alarms = crash_alarms(as_translated())
    assert len({json.dumps(alarm["Metrics"][0]) for _, alarm in alarms}) == 1, "they compute differently"
    for _, alarm in alarms:
        assert (alarm["ComparisonOperator"], alarm["EvaluationPeriods"]) == ("GreaterThanThreshold", 1), alarm
        periods = {one["MetricStat"]["Period"] for one in alarm["Metrics"][1:]}
        assert periods == {300}, "a deployment takes five minutes"
    expression = alarms[0][1]["Metrics"][0]["Expression"].replace(" OR ", " or ")

    def stops(errors: int, runs: int) -> bool:
        names = {"IF": lambda holds, then, otherwise: then if holds else otherwise, "errors": errors, "runs": runs}
        return eval(expression, names) > alarms[0][1]["Threshold"]

    # One tenant's crash, its client's repetitions, and a message that crashes its worker at each of five deliveries.
    for errors, runs in ((0, 1), (1, 2), (1, 1000), (2, 3), (2, 40), (3, 60), (5, 100)):
        assert not stops(errors, runs), f"{errors} of {runs} stop a deployment"
    # A version that crashes on everything, however little there is; or on one kind of request of ten.
    for errors, runs in ((1, 1), (2, 2), (1000, 1000), (3, 30), (100, 1000), (6, 100)):
        assert stops(errors, runs), f"{errors} of {runs} do not stop a deployment"


@contextmanager
def issuer() -> Iterator[tuple[str, dict[str, bytes | str]]]:
    """An issuer on this machine, and what it serves, by path: a document, or where that has moved to."""
    served: dict[str, bytes | str] = {}

    def respond(request: Request) -> Response:
        found = served.get(request.path)
        if isinstance(found, str):
            return Response(302, {"Location": found})
        return Response(404) if found is None else Response(200, body=found)

    with serving(respond) as url:
        yield url, served


def discovery(issuer: str) -> bytes:
    """The issuer's discovery document."""
    return json.dumps({"issuer": issuer, "jwks_uri": f"{issuer}/keys"}).encode()


def change(pattern: str, becomes: str) -> None:
    """Changes the first that matches in the environment dev."""
    before, dev = CONFIG.read_text().split("[dev.deploy.parameters]")
    changed, times = re.subn(pattern, becomes, dev, count=1)
    assert times == 1, pattern
    CONFIG.write_text("[dev.deploy.parameters]".join((before, changed)))


def look(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Has ./deploy look, and do nothing."""
    return run("./deploy", *arguments, **{"PATH": f"{FAKES}:{os.environ['PATH']}", "QUOTA": "1000", **variables})


def refused(issuer: str, *words: str) -> None:
    """Such an issuer is not deployed, and one line says what is wrong, and where that is set."""
    change('JwtIssuer=[^"]*', f"JwtIssuer={issuer}")
    done = look("dev")
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in (*words, "samconfig.toml, environment dev")), done


def deployed(*arguments: str, **variables: str) -> tuple[str, str]:
    """Nothing is in the way of it; answers what ./deploy has said, and where to it would deploy."""
    done = look("dev", *arguments, **variables)
    assert done.returncode == 0 and done.stdout.startswith("sam deploys to "), done
    return done.stderr, done.stdout.split()[-1]


def issuers_are_looked_at(url: str, served: dict[str, bytes | str]) -> None:
    """Only one whose document can be read, and is its own, to the letter."""
    for placeholder in ("https://issuer.example", "https://login.issuer.example:443/a"):
        refused(placeholder, placeholder, "placeholder")
    assert look("local").stderr.count("there is no issuer") == 1
    refused("http://issuer.internal", "https")
    refused("http://127.0.0.1:1@issuer.internal", "https")
    refused("http://127.0.0.1:1", f"http://127.0.0.1:1{WELL_KNOWN}", "curl: (7)")
    refused(url, f"{url}{WELL_KNOWN}", "404")
    served["/document"] = discovery(url)
    served[WELL_KNOWN] = "/document"
    refused(url, "redirects")
    for no_object in (b"<html></html>", b"[]", b"\xff"):
        served[WELL_KNOWN] = no_object
        refused(url, "JSON")
    served[WELL_KNOWN] = json.dumps({"issuer": url}).encode()
    refused(url, "jwks_uri")
    for unsafe in (
        "http://127.0.0.1.issuer.internal/keys",
        "http://localhost@issuer.internal/keys",
        "http://[",
        "keys",
    ):
        served[WELL_KNOWN] = json.dumps({"issuer": url, "jwks_uri": unsafe}).encode()
        refused(url, "jwks_uri")
    served[WELL_KNOWN] = b"{}"
    refused(url, url, "null")
    # One path for both, and yet two issuers.
    served[WELL_KNOWN] = discovery(f"{url}/")
    refused(url, f" {url} ", f'"{url}/"')
    change('JwtIssuer=[^"]*', f"JwtIssuer={url}/")
    assert deployed()[0] == ""
    served[WELL_KNOWN] = discovery(url)
    refused(f"{url}/", f" {url}/ ", f'"{url}"')
    change('JwtIssuer=[^"]*', f"JwtIssuer={url}")
    assert deployed()[0] == ""
    assert look("dev", "--help", QUOTA="").stderr == "", "help needs neither issuer nor account"


def accounts_are_looked_at() -> None:
    """A small one is told; one that cannot be asked is no obstacle. Both are asked where sam will deploy to."""
    template = yaml_parse(BUILT.read_text())
    events = [event for one in template["Resources"].values() for event in one["Properties"].get("Events", {}).values()]
    limits = [event["Properties"]["ScalingConfig"]["MaximumConcurrency"] for event in events if event["Type"] == "SQS"]
    together = sum(template["Parameters"][limit["Ref"]]["Default"] for limit in limits)
    assert together <= 0.75 * LEAST_CONCURRENCY, f"infra/deploy: workers may take {together} at once"
    said, _ = deployed(QUOTA="10")
    assert said.startswith("deploy: WARNING") and " 10 " in said and f" {LEAST_CONCURRENCY} " in said, said
    assert deployed(QUOTA=str(LEAST_CONCURRENCY - 1))[0] and not deployed(QUOTA=str(LEAST_CONCURRENCY))[0]
    for answer in ("", "None"):
        said, _ = deployed(QUOTA=answer)
        assert "could not be asked" in said and said.count("\n") == 1, said
    bare = COPY / "bare"
    bare.mkdir()
    (bare / "sam").symlink_to(FAKES / "sam")
    (bare / "python3").symlink_to(sys.executable)
    for command in CALLED:
        (bare / command).symlink_to(shutil.which(command) or "")
    said, _ = deployed(PATH=str(bare))
    assert "could not be asked" in said and said.count("\n") == 1, said

    asked = FAKES / "asked"
    change("resolve_s3", 'region = "eu-west-1"\nprofile = "of-dev"\nresolve_s3')
    deployed()
    assert "--region eu-west-1 --profile of-dev" in asked.read_text()
    deployed("--region", "eu-west-2", "--profile=another")
    assert "--region eu-west-2 --profile another" in asked.read_text()
    change("region = .*\nprofile = .*\n", "")
    assert deployed(AWS_REGION="eu-west-3", AWS_DEFAULT_REGION="eu-west-1") == ("", "eu-west-3")
    assert "--region" not in asked.read_text() and "--profile" not in asked.read_text()


def main() -> None:
    """Deploys as it is, and then, without asking the local stack, again and with another parameter."""
    build()
    FAKES.mkdir()
    for name, script in (("sam", SAM), ("aws", AWS)):
        (FAKES / name).write_text(script)
        (FAKES / name).chmod(0o755)
    with issuer() as (url, served):
        issuers_are_looked_at(url, served)
        accounts_are_looked_at()
        loops_are_expanded_as_elsewhere()
        as_it_is = deploy("--no-execute-changeset")
        crashes_stop_a_deployment_if_the_new_version_is_broken()
        assert deploy("--help") == as_it_is, "nothing has changed, and yet there are new versions"
        change('RestoredTable=""', "RestoredTable=bindery-dev-restored")
        assert deploy("--help").isdisjoint(as_it_is), "another table does not reach the functions that run"

        overridden = run("./deploy", "dev", "--parameter-overrides", "Paused=true")
        assert overridden.returncode == 1 and "samconfig.toml" in overridden.stderr, overridden
        assert run("./deploy", "nowhere").returncode == 1
        deploy_what_sam_builds()
        deploy_a_release()


def loops_are_expanded_as_elsewhere() -> None:
    """The local stack, the tests and ./prebuilt have what AWS makes of the loops after `sam build`.

    The emulator's expansion was compared with AWS's by its authors; it leaves names from mappings to CloudFormation.
    """
    written, expanded = yaml_parse((INFRA / "template.yaml").read_text()), read_template()
    parameters = {name: str(parameter.get("Default", "any")) for name, parameter in written["Parameters"].items()}
    emulated = language_extensions.apply(written, parameters)
    by_sam = expand_language_extensions(written, parameter_values=parameters, enabled=True).expanded_template
    for section in ("Resources", "Outputs"):
        assert resolve(emulated[section], written["Mappings"]) == expanded[section], section
        assert by_sam[section].keys() == expanded[section].keys(), section


def deploy_what_sam_builds() -> None:
    """Builds by `sam build`, of packages that are there, and deploys the template with its loops in it."""
    template = INFRA / "template.yaml"
    text, functions = re.subn("BuildMethod: rust-cargolambda", "BuildMethod: makefile", template.read_text())
    template.write_text(text)
    names = re.findall(r"^  (\w+Function):$", text, re.MULTILINE)
    assert functions == len(names) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), names
    rules = (f"build-{name}:\n\tcp /bin/sh $(ARTIFACTS_DIR)/bootstrap\n" for name in names)
    (COPY / "Makefile").write_text("".join(rules))
    done = run("sam", "build")
    assert done.returncode == 0, done.stderr
    assert "Fn::ForEach::Queues" in yaml_parse(BUILT.read_text())["Resources"]
    done = run("./deploy", "dev", "--no-execute-changeset")
    assert AT_LAST in done.stderr, done.stdout + done.stderr


def deploy_a_release() -> None:
    """Packs a release, and deploys it from its files alone."""
    release = COPY / "release"
    packed = run(sys.executable, "-m", "stack", "release", release, "x86_64", PYTHONPATH=str(INFRA / "local"))
    assert packed.returncode == 0, packed.stderr
    zips = sorted(release.glob("*-x86_64.zip"))
    assert len(zips) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), zips
    assert (release / "bindery-functions-x86_64.cdx.json").exists(), "the bill of materials is beside them"
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
