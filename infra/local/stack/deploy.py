"""Packs the functions, deploys the template with the real `sam deploy`, and adds what the emulator omits."""

import copy
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
from samcli.yamlhelper import yaml_dump

from . import clients
from .settings import AUDIENCE, INFRA, ROOT, STACK_NAME, TOOLS, Settings, StackError, binary, deploy_parameters
from .template import read_template

COMPOSITE_ALARM = "AWS::CloudWatch::CompositeAlarm"
# The namespace of metrics for values of expressions. tests/scripts/alarm_states.py puts values into them.
EXPRESSIONS = "Expressions"
# The package's bootstrap script. `_HANDLER`, from the rendered template, selects the function that the runner runs.
BOOTSTRAP = """#!/bin/sh
exec {runner}
"""


def package(settings: Settings) -> Path:
    """Creates the package of all functions, which is a script that starts the latest runner.

    The name of the runner's copy has a hash of its content. So running functions continue with their copy, and the
    package and the functions' versions change only if the runner does.
    """
    built = binary("local-runner")
    if not built.exists():
        raise StackError(f"{built} is missing: run ./infra/local/up")
    with built.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    directory = settings.directory.resolve() / "functions"
    runner = directory / f"runner-{digest}"
    bootstrap = directory / "package" / "bootstrap"
    bootstrap.parent.mkdir(parents=True, exist_ok=True)
    if not runner.exists():
        # Keeps the latest copy, because functions start it until the deployment ends.
        for old in sorted(directory.glob("runner-*"), key=lambda file: file.stat().st_mtime)[:-1]:
            old.unlink()
        shutil.copy2(built, runner.with_suffix(".new"))
        runner.with_suffix(".new").rename(runner)
    bootstrap.write_text(BOOTSTRAP.format(runner=shlex.quote(str(runner))))
    bootstrap.chmod(0o755)
    return bootstrap.parent


def deploy(settings: Settings) -> dict[str, str]:
    """Deploys the stack, and returns its outputs."""
    print("==> Deploying infra/template.yaml with sam", flush=True)
    template = read_template()
    parameters = {**deploy_parameters(), "JwtIssuer": settings.issuer_url, "JwtAudience": AUDIENCE}
    # For the tests, which check the expanded template.
    (settings.directory / "template.json").write_text(json.dumps(template))
    outputs = run_sam(settings, STACK_NAME, template, parameters)
    _patch_emulator(settings, template, outputs)
    secret = clients.canary_secret(settings)
    client(settings, "secretsmanager").put_secret_value(SecretId=outputs["CanarySecretArn"], SecretString=secret)
    return outputs


def run_sam(settings: Settings, stack: str, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
    """Deploys the template as a stack of this name with the real `sam deploy`. Returns the stack's outputs."""
    rendered, log = settings.directory / f"{stack}.yaml", settings.logs / f"{stack}.log"
    rendered.write_text(yaml_dump(_render(settings, package(settings), copy.deepcopy(template), parameters)))
    command = [str(TOOLS / "sam"), "deploy", "--config-file", str(INFRA / "samconfig.toml"), "--config-env", "local"]
    command += ["--template-file", str(rendered), "--stack-name", stack]
    command += ["--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items())]
    environment = {**os.environ, **settings.aws_environment(), "SAM_CLI_TELEMETRY": "0"}
    environment["TMPDIR"] = str(settings.directory / "tmp")
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise StackError(f"sam deploy failed: see {log}")
    described = client(settings, "cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}


def client(settings: Settings, service: str) -> Any:
    """Returns an AWS client for this stack."""
    return boto3.client(
        service,
        endpoint_url=settings.aws_url,
        region_name=settings.aws_environment()["AWS_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def _render(settings: Settings, package: Path, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """Returns the template as `sam build` would write it. All functions have the same package.

    Numeric parameters are inserted, because the emulator passes them on as text and then fails. It has no CodeDeploy,
    and no archives and composite alarms in templates (see `_patch_emulator`). Alarms on metric math get a metric for
    the value of their expression, which the tests compute. The API's own endpoint is a name that not every machine
    resolves.
    """
    types = {name: parameter["Type"] for name, parameter in template["Parameters"].items()}
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}

    def put_in(value: Any) -> Any:
        match value:
            case {"Ref": str(name)} if types.get(name) == "Number":
                return int(parameters.get(name, defaults[name]))
            case dict():
                # The variables of a function are text in any case.
                return {key: item if key == "Variables" else put_in(item) for key, item in value.items()}
            case list():
                return [put_in(item) for item in value]
            case _:
                return value

    resources = put_in(template["Resources"])
    for resource in functions_of(resources).values():
        name = resource.pop("Metadata")["BuildProperties"]["Binary"]
        resource["Properties"] |= {"CodeUri": str(package), "Handler": name}
        del resource["Properties"]["DeploymentPreference"]
    if canary := resources.get("CanaryFunction"):
        address = {"Fn::Sub": f"{settings.aws_url}/_aws/execute-api/${{Api}}/$default"}
        canary["Properties"]["Environment"]["Variables"]["API_ENDPOINT"] = address
    shared = {name: value for name, value in template["Globals"]["Function"].items() if name != "DeploymentPreference"}
    resources.pop("EventArchive", None)
    resources = {name: resource for name, resource in resources.items() if resource["Type"] != COMPOSITE_ALARM}
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            resource["Properties"] |= _metric_of_expression(resource["Properties"].pop("Metrics"))
    return {**template, "Globals": {"Function": shared}, "Resources": resources}


def functions_of(resources: dict[str, Any]) -> dict[str, Any]:
    """Returns the functions among the resources, by logical ID."""
    return {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::Serverless::Function"}


def _metric_of_expression(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the metric that replaces the expression: named by its label, with the period of its inputs."""
    [expression], [period] = (
        [one for one in metrics if "Expression" in one],
        {one["MetricStat"]["Period"] for one in metrics if "MetricStat" in one},
    )
    return {"Namespace": EXPRESSIONS, "MetricName": expression["Label"], "Statistic": "Maximum", "Period": period}


def _patch_emulator(settings: Settings, template: dict[str, Any], outputs: dict[str, str]) -> None:
    """Creates the resources of the template that the emulator omits.

    These are the routes and the authorizer that SAM puts into the HTTP API's body, the table's time to live, the
    archive, and composite alarms.
    """
    _create_composite_alarms(settings, template)
    bus = client(settings, "events")
    archive = outputs["EventArchiveName"]
    if not bus.list_archives(NamePrefix=archive)["Archives"]:
        bus.create_archive(
            ArchiveName=archive, EventSourceArn=bus.describe_event_bus(Name=outputs["EventBusName"])["Arn"]
        )
    dynamodb = client(settings, "dynamodb")
    live = dynamodb.describe_time_to_live(TableName=outputs["TableName"])["TimeToLiveDescription"]
    if live["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        specification = {"AttributeName": "expires_at", "Enabled": True}
        dynamodb.update_time_to_live(TableName=outputs["TableName"], TimeToLiveSpecification=specification)

    api = client(settings, "apigatewayv2")
    api_id = outputs["ApiId"]
    present = {route["RouteKey"]: route for route in api.get_routes(ApiId=api_id)["Items"]}
    authorizers = api.get_authorizers(ApiId=api_id)["Items"]
    authorizer = (
        authorizers[0]
        if authorizers
        else api.create_authorizer(
            ApiId=api_id,
            Name="Jwt",
            AuthorizerType="JWT",
            IdentitySource=["$request.header.Authorization"],
            JwtConfiguration={"Issuer": settings.issuer_url, "Audience": [AUDIENCE]},
        )
    )
    arns = _function_arns(settings)
    for route_key, event, function in _routes(template):
        authorization = {"AuthorizationType": "NONE"}
        if event.get("Auth") == {"Authorizer": "Jwt"}:
            authorization = {"AuthorizationType": "JWT", "AuthorizerId": authorizer["AuthorizerId"]}
        if route := present.get(route_key):
            # A stack from an earlier deployment may have another authorization.
            if route["AuthorizationType"] != authorization["AuthorizationType"]:
                api.update_route(ApiId=api_id, RouteId=route["RouteId"], **authorization)
            continue
        integration = api.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=f"{arns[function]}:live",
            PayloadFormatVersion="2.0",
        )
        target = f"integrations/{integration['IntegrationId']}"
        api.create_route(ApiId=api_id, RouteKey=route_key, Target=target, **authorization)


def _create_composite_alarms(settings: Settings, template: dict[str, Any]) -> None:
    resources = template["Resources"]

    def text(value: dict[str, Any]) -> str:
        match value["Fn::Sub"]:
            case [str(known), variables]:
                # The local environment has every optional alarm.
                for name, choice in variables.items():
                    known = known.replace(f"${{{name}}}", choice["Fn::If"][1]["Fn::Sub"])
            case known:
                pass
        known = known.replace("${AWS::StackName}", STACK_NAME)
        known = known.replace("${RunbookUrl}", template["Parameters"]["RunbookUrl"]["Default"])
        return re.sub(r"\$\{(\w+Alarm)\}", lambda found: text(resources[found[1]]["Properties"]["AlarmName"]), known)

    for composite in (one["Properties"] for one in resources.values() if one["Type"] == COMPOSITE_ALARM):
        described = {key: text(composite[key]) for key in ("AlarmName", "AlarmDescription", "AlarmRule")}
        client(settings, "cloudwatch").put_composite_alarm(**described)


def _routes(template: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Returns the template's routes: route key, the event's properties and the function's logical ID."""
    return [
        (f"{event['Properties']['Method']} {event['Properties']['Path']}", event["Properties"], logical_id)
        for logical_id, resource in functions_of(template["Resources"]).items()
        for event in resource["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi"
    ]


def _function_arns(settings: Settings) -> dict[str, str]:
    pages = client(settings, "cloudformation").get_paginator("list_stack_resources")
    names = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=STACK_NAME)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }
    lambda_ = client(settings, "lambda")
    return {
        logical_id: lambda_.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
        for logical_id, name in names.items()
    }
