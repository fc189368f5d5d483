"""Packs the functions and deploys the template with the real `sam deploy`, then mends what the emulator lacks."""

import copy
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
from samcli.yamlhelper import yaml_dump

from .settings import AUDIENCE, INFRA, ROOT, STACK_NAME, TOOLS, Settings, StackError, binary, deploy_parameters
from .template import read_template

# What Lambda runs of a package. `_HANDLER`, from the rendered template, says which function the runner is.
BOOTSTRAP = """#!/bin/sh
exec {runner}
"""


def package(settings: Settings) -> Path:
    """Makes the package of all functions: a script that starts the runner as it was built last.

    The runner is kept under a name of its content. So functions that run go on with the old one, and the package, and
    with it the functions' versions, are new if and only if the runner is.
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
        # But for the latest: until the deployment is done, functions start that.
        for old in sorted(directory.glob("runner-*"), key=lambda file: file.stat().st_mtime)[:-1]:
            old.unlink()
        shutil.copy2(built, runner.with_suffix(".new"))
        runner.with_suffix(".new").rename(runner)
    bootstrap.write_text(BOOTSTRAP.format(runner=shlex.quote(str(runner))))
    bootstrap.chmod(0o755)
    return bootstrap.parent


def deploy(settings: Settings) -> dict[str, str]:
    """Deploys, and answers the stack's outputs."""
    print("==> Deploying infra/template.yaml with sam", flush=True)
    template = read_template()
    parameters = {**deploy_parameters(), "JwtIssuer": settings.issuer_url, "JwtAudience": AUDIENCE}
    # For the tests, which hold the template to its rules.
    (settings.directory / "template.json").write_text(json.dumps(template))
    outputs = run_sam(settings, STACK_NAME, template, parameters)
    _mend(settings, template, outputs)
    return outputs


def run_sam(settings: Settings, stack: str, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
    """Deploys the template as a stack of this name with the real `sam deploy`; answers the stack's outputs."""
    rendered, log = settings.directory / f"{stack}.yaml", settings.logs / f"{stack}.log"
    rendered.write_text(yaml_dump(_render(package(settings), copy.deepcopy(template), parameters)))
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
    """An AWS client that talks to this stack."""
    return boto3.client(
        service,
        endpoint_url=settings.aws_url,
        region_name=settings.aws_environment()["AWS_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def _render(package: Path, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """The template as `sam build` would leave it: each function's code is built. Here all have the same package.

    Numbers from parameters are put in, because the emulator hands them on as text and trips over them. It has no
    CodeDeploy, no alarms on computed metrics, and no archives in templates (see `_mend`).
    """
    types = {name: parameter["Type"] for name, parameter in template["Parameters"].items()}
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}

    def put_in(value: Any) -> Any:
        match value:
            case {"Ref": str(name)} if types.get(name) == "Number":
                return int(parameters.get(name, defaults[name]))
            case dict():
                # A function's environment is text anyway.
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
    shared = {name: value for name, value in template["Globals"]["Function"].items() if name != "DeploymentPreference"}
    resources.pop("EventArchive", None)
    resources = {name: resource for name, resource in resources.items() if not _is_computed_alarm(resource)}
    return {**template, "Globals": {"Function": shared}, "Resources": resources}


def functions_of(resources: dict[str, Any]) -> dict[str, Any]:
    """The functions among the resources, by logical ID."""
    return {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::Serverless::Function"}


def _is_computed_alarm(resource: dict[str, Any]) -> bool:
    return resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]


def _mend(settings: Settings, template: dict[str, Any], outputs: dict[str, str]) -> None:
    """Does what the emulator leaves out of the template.

    It makes an HTTP API without the routes and the authorizer that SAM puts into its body, a table
    without its time to live, and no archives.
    """
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
            # A stack that was up before may have it otherwise.
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


def _routes(template: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """The template's routes: route key, the event's properties and the function's logical ID."""
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
