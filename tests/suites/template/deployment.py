"""Deploys a copy of infra/ in the documented way, as far as the local stack supports it.

The template that `./deploy` leaves is translated as CloudFormation would. SAM names a function's version by a hash, and
CloudFormation publishes only a version with a new name and moves the alias to it.

The checks of `./deploy` run with a fake `sam` that does nothing and a fake `aws` that returns the wanted quota.
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
# The lowest concurrency of an account for which ./deploy prints no warning.
LEAST_CONCURRENCY = 200
FAKES = COPY / "fakes"
BUILT = INFRA / ".aws-sam" / "build" / "template.yaml"
TOOLS = Path(sys.executable).parent
# Types that the local stack does not support. It reports them after everything is packaged.
UNKNOWN = (
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Events::Archive",
)
EXPECTED_ERROR = f"Unrecognized resource types: [{', '.join(UNKNOWN)}]"
WELL_KNOWN = "/.well-known/openid-configuration"
# The fake sam prints the region. The fake aws records its arguments, and prints the quota or fails.
SAM = """#!/bin/sh
echo "sam deploys to ${AWS_DEFAULT_REGION-}"
"""
AWS = """#!/bin/sh
echo "$@" >"${0%/*}/arguments"
[ -n "${QUOTA-}" ] && echo "$QUOTA"
"""
# All commands that ./deploy runs, except sam and aws.
CALLED = ("awk", "bash", "cksum", "curl", "cut", "dirname", "grep", "mv", "sed")


def run(*command: str | Path, folder: Path = INFRA, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the copied folder."""
    path = f"{TOOLS}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def build() -> None:
    """Writes the template, with packages that contain only one line."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT / "infra", INFRA, ignore=shutil.ignore_patterns(".aws-sam", "__pycache__"))
    for manifest in (ROOT / "functions").glob("*/Cargo.toml"):
        package = COPY / "target" / "lambda" / manifest.parent.name / "bootstrap"
        package.parent.mkdir(parents=True)
        package.write_text("#!/bin/sh\n")
    (COPY / "target" / "lambda" / "bindery-functions.cdx.json").write_text("{}\n")
    done = run(sys.executable, "-m", "stack", "prebuilt", PYTHONPATH=str(INFRA / "local"))
    assert done.returncode == 0, done.stderr


def translated_resources() -> dict[str, dict]:
    """Returns the built template's resources after SAM's transform."""
    template = yaml_parse(BUILT.read_text())
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # `sam deploy` replaces the path by such an address.
            resource["Properties"]["CodeUri"] = {"Bucket": "packages", "Key": name}
    parameters = {"JwtIssuer": "https://issuer.example", "JwtAudience": "bindery"}
    return transform(template, parameters, SimpleNamespace(load=dict))["Resources"]


def deploy(*options: str) -> set[str]:
    """Deploys as far as possible, and returns the names of the functions' versions."""
    done = run("./deploy", "dev", *options)
    assert done.returncode == 0 or EXPECTED_ERROR in done.stderr, done.stdout + done.stderr
    translated = translated_resources()
    versions = {name for name, resource in translated.items() if resource["Type"] == "AWS::Lambda::Version"}
    assert len(versions) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), versions
    aliases = [resource for resource in translated.values() if resource["Type"] == "AWS::Lambda::Alias"]
    # Only these get a part of the traffic first.
    shifted = {alias["Properties"]["FunctionVersion"]["Fn::GetAtt"][0] for alias in aliases if "UpdatePolicy" in alias}
    roles = [name for name, resource in translated.items() if resource["Type"] == "AWS::IAM::Role"]
    free = [name for name in roles if "PermissionsBoundary" not in translated[name]["Properties"]]
    assert roles and not free, f"roles without the permissions boundary, some of which SAM may have added: {free}"
    assert {version for version, _ in crash_alarms(translated)} == shifted, (
        "each version needs an alarm on its own crashes"
    )
    policies = [alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"] for alias in aliases if "UpdatePolicy" in alias]
    assert all("PreTrafficFunction" in json.dumps(policy["BeforeAllowTrafficHook"]) for policy in policies), policies
    return versions


def crash_alarms(resources: dict[str, dict]) -> list[tuple[str, dict]]:
    """Returns the alarms on the crashes of one version, with that version."""
    alarms = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    found = []
    for alarm in alarms:
        stats = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
        errors = [stat["Dimensions"] for stat in stats if stat["MetricName"] == "Errors"]
        values = {one["Name"]: one["Value"] for dimensions in errors for one in dimensions}
        if "ExecutedVersion" in values:
            version, attribute = values["ExecutedVersion"]["Fn::GetAtt"]
            assert attribute == "Version", values
            found.append((version, alarm))
    return found


def crashes_stop_a_deployment_if_the_new_version_is_broken() -> None:
    """Evaluates the alarms for numbers of crashes and invocations of the new version in a deployment's five minutes."""
    alarms = crash_alarms(translated_resources())
    assert len({json.dumps(alarm["Metrics"][0]) for _, alarm in alarms}) == 1, (
        "the crash alarms must have the same expression"
    )
    for _, alarm in alarms:
        assert (alarm["ComparisonOperator"], alarm["EvaluationPeriods"]) == ("GreaterThanThreshold", 1), alarm
        periods = {one["MetricStat"]["Period"] for one in alarm["Metrics"][1:]}
        assert periods == {300}, "the period must be five minutes, like a deployment"
    expression = alarms[0][1]["Metrics"][0]["Expression"].replace(" OR ", " or ")

    def stops(errors: int, runs: int) -> bool:
        names = {"IF": lambda holds, then, otherwise: then if holds else otherwise, "errors": errors, "runs": runs}
        return eval(expression, names) > alarms[0][1]["Threshold"]

    # One tenant's crash, with its client's retries, or a message that crashes its worker in each of five deliveries.
    for errors, runs in ((0, 1), (1, 2), (1, 1000), (2, 3), (2, 40), (3, 60), (5, 100)):
        assert not stops(errors, runs), f"{errors} crashes in {runs} invocations must not stop a deployment"
    # A version that crashes on every request, even if there are few, or on one request in ten.
    for errors, runs in ((1, 1), (2, 2), (1000, 1000), (3, 30), (100, 1000), (6, 100)):
        assert stops(errors, runs), f"{errors} crashes in {runs} invocations must stop a deployment"


@contextmanager
def issuer() -> Iterator[tuple[str, dict[str, bytes | str]]]:
    """Serves an issuer on this machine. The dictionary has a document, or a redirect's target, for each path."""
    served: dict[str, bytes | str] = {}

    def respond(request: Request) -> Response:
        found = served.get(request.path)
        if isinstance(found, str):
            return Response(302, {"Location": found})
        return Response(404) if found is None else Response(200, body=found)

    with serving(respond) as url:
        yield url, served


def discovery(issuer: str) -> bytes:
    """Returns the issuer's discovery document."""
    return json.dumps({"issuer": issuer, "jwks_uri": f"{issuer}/keys"}).encode()


def change(pattern: str, becomes: str) -> None:
    """Replaces the first match of a pattern in the environment dev of samconfig.toml."""
    before, dev = CONFIG.read_text().split("[dev.deploy.parameters]")
    changed, times = re.subn(pattern, becomes, dev, count=1)
    assert times == 1, pattern
    CONFIG.write_text("[dev.deploy.parameters]".join((before, changed)))


def run_checks(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the checks of ./deploy, with the fake sam and aws."""
    return run("./deploy", *arguments, **{"PATH": f"{FAKES}:{os.environ['PATH']}", "QUOTA": "1000", **variables})


def assert_refused(issuer: str, *words: str) -> None:
    """Checks that ./deploy refuses this issuer, with one line that names the problem and the setting's place."""
    change('JwtIssuer=[^"]*', f"JwtIssuer={issuer}")
    done = run_checks("dev")
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in (*words, "samconfig.toml, environment dev")), done


def assert_deploys(*arguments: str, **variables: str) -> tuple[str, str]:
    """Checks that ./deploy would deploy, and returns its error output and the region."""
    done = run_checks("dev", *arguments, **variables)
    assert done.returncode == 0 and done.stdout.startswith("sam deploys to "), done
    return done.stderr, done.stdout.split()[-1]


def issuers_are_checked(url: str, served: dict[str, bytes | str]) -> None:
    """Checks that only an issuer with a readable discovery document of exactly its own name is accepted."""
    for placeholder in ("https://issuer.example", "https://login.issuer.example:443/a"):
        assert_refused(placeholder, placeholder, "placeholder")
    assert run_checks("local").stderr.count("there is no issuer") == 1
    assert_refused("http://issuer.internal", "https")
    assert_refused("http://127.0.0.1:1@issuer.internal", "https")
    assert_refused("http://127.0.0.1:1", f"http://127.0.0.1:1{WELL_KNOWN}", "curl: (7)")
    assert_refused(url, f"{url}{WELL_KNOWN}", "404")
    served["/document"] = discovery(url)
    served[WELL_KNOWN] = "/document"
    assert_refused(url, "redirects")
    for no_object in (b"<html></html>", b"[]", b"\xff"):
        served[WELL_KNOWN] = no_object
        assert_refused(url, "JSON")
    served[WELL_KNOWN] = json.dumps({"issuer": url}).encode()
    assert_refused(url, "jwks_uri")
    for unsafe in (
        "http://127.0.0.1.issuer.internal/keys",
        "http://localhost@issuer.internal/keys",
        "http://[",
        "keys",
    ):
        served[WELL_KNOWN] = json.dumps({"issuer": url, "jwks_uri": unsafe}).encode()
        assert_refused(url, "jwks_uri")
    served[WELL_KNOWN] = b"{}"
    assert_refused(url, url, "null")
    # Both issuers have the same discovery URL, but their names differ.
    served[WELL_KNOWN] = discovery(f"{url}/")
    assert_refused(url, f" {url} ", f'"{url}/"')
    change('JwtIssuer=[^"]*', f"JwtIssuer={url}/")
    assert assert_deploys()[0] == ""
    served[WELL_KNOWN] = discovery(url)
    assert_refused(f"{url}/", f" {url}/ ", f'"{url}"')
    change('JwtIssuer=[^"]*', f"JwtIssuer={url}")
    assert assert_deploys()[0] == ""
    assert run_checks("dev", "--help", QUOTA="").stderr == "", "--help must need neither an issuer nor an account"


def accounts_are_checked() -> None:
    """Checks that a small account causes a warning, and one that is unreachable no error.

    The quota is read in the account and region to which sam will deploy.
    """
    template = yaml_parse(BUILT.read_text())
    events = [event for one in template["Resources"].values() for event in one["Properties"].get("Events", {}).values()]
    limits = [event["Properties"]["ScalingConfig"]["MaximumConcurrency"] for event in events if event["Type"] == "SQS"]
    together = sum(template["Parameters"][limit["Ref"]]["Default"] for limit in limits)
    assert together <= 0.75 * LEAST_CONCURRENCY, (
        f"raise the least concurrency in infra/deploy: workers may take {together}"
    )
    output, _ = assert_deploys(QUOTA="10")
    assert output.startswith("deploy: WARNING") and " 10 " in output and f" {LEAST_CONCURRENCY} " in output, output
    assert assert_deploys(QUOTA=str(LEAST_CONCURRENCY - 1))[0] and not assert_deploys(QUOTA=str(LEAST_CONCURRENCY))[0]
    for quota in ("", "None"):
        output, _ = assert_deploys(QUOTA=quota)
        assert "could not be read" in output and output.count("\n") == 1, output
    bare = COPY / "bare"
    bare.mkdir()
    (bare / "sam").symlink_to(FAKES / "sam")
    (bare / "python3").symlink_to(sys.executable)
    for command in CALLED:
        (bare / command).symlink_to(shutil.which(command) or "")
    output, _ = assert_deploys(PATH=str(bare))
    assert "could not be read" in output and output.count("\n") == 1, output

    arguments = FAKES / "arguments"
    change("resolve_s3", 'region = "eu-west-1"\nprofile = "of-dev"\nresolve_s3')
    assert_deploys()
    assert "--region eu-west-1 --profile of-dev" in arguments.read_text()
    assert_deploys("--region", "eu-west-2", "--profile=another")
    assert "--region eu-west-2 --profile another" in arguments.read_text()
    change("region = .*\nprofile = .*\n", "")
    assert assert_deploys(AWS_REGION="eu-west-3", AWS_DEFAULT_REGION="eu-west-1") == ("", "eu-west-3")
    assert "--region" not in arguments.read_text() and "--profile" not in arguments.read_text()


def main() -> None:
    """Deploys once, and then, without the local stack, again unchanged and with another parameter."""
    build()
    FAKES.mkdir()
    for name, script in (("sam", SAM), ("aws", AWS)):
        (FAKES / name).write_text(script)
        (FAKES / name).chmod(0o755)
    with issuer() as (url, served):
        issuers_are_checked(url, served)
        accounts_are_checked()
        loops_expand_as_on_aws()
        versions = deploy("--no-execute-changeset")
        crashes_stop_a_deployment_if_the_new_version_is_broken()
        assert deploy("--help") == versions, "a deployment without changes must not create new versions"
        change('RestoredTable=""', "RestoredTable=bindery-dev-restored")
        assert deploy("--help").isdisjoint(versions), "a new parameter must create new versions of all functions"

        overridden = run("./deploy", "dev", "--parameter-overrides", "Paused=true")
        assert overridden.returncode == 1 and "samconfig.toml" in overridden.stderr, overridden
        assert run("./deploy", "nowhere").returncode == 1
        deploy_what_sam_builds()
        deploy_a_release()


def loops_expand_as_on_aws() -> None:
    """Checks that the local stack, the tests and ./prebuilt expand the loops as AWS does after `sam build`.

    The emulator's authors compared its expansion with AWS's. It leaves names from mappings to CloudFormation.
    """
    written, expanded = yaml_parse((INFRA / "template.yaml").read_text()), read_template()
    parameters = {name: str(parameter.get("Default", "any")) for name, parameter in written["Parameters"].items()}
    emulated = language_extensions.apply(written, parameters)
    by_sam = expand_language_extensions(written, parameter_values=parameters, enabled=True).expanded_template
    for section in ("Resources", "Outputs"):
        assert resolve(emulated[section], written["Mappings"]) == expanded[section], section
        assert by_sam[section].keys() == expanded[section].keys(), section


def deploy_what_sam_builds() -> None:
    """Builds with `sam build`, from existing packages, and deploys the template with unexpanded loops."""
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
    assert EXPECTED_ERROR in done.stderr, done.stdout + done.stderr


def deploy_a_release() -> None:
    """Packs a release, and deploys it from only its files."""
    release = COPY / "release"
    packed = run(sys.executable, "-m", "stack", "release", release, "x86_64", PYTHONPATH=str(INFRA / "local"))
    assert packed.returncode == 0, packed.stderr
    zips = sorted(release.glob("*-x86_64.zip"))
    assert len(zips) == len(list((ROOT / "functions").glob("*/Cargo.toml"))), zips
    assert (release / "bindery-functions-x86_64.cdx.json").exists(), "the release must contain the bill of materials"
    for file in zips:
        with zipfile.ZipFile(file) as archive:
            (entry,) = archive.infolist()
            assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o100755), file
    shutil.rmtree(INFRA)
    done = run("./deploy", "dev", "--template-file", "template-x86_64.yaml", "--no-execute-changeset", folder=release)
    assert EXPECTED_ERROR in done.stderr, done.stdout + done.stderr
    template = yaml_parse((release / "template-x86_64.yaml").read_text())
    assert template["Parameters"]["Architecture"]["Default"] == "x86_64"


main()
