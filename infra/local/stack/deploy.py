"""Builds the functions and deploys the template with the real `sam deploy`, then mends what the emulator lacks."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
from samcli.yamlhelper import yaml_dump, yaml_parse

from .settings import AUDIENCE, INFRA, ROOT, STACK_NAME, TOOLS, Settings, StackError, binary, deploy_parameters


def functions() -> list[str]:
    """The names of all functions, which are those of their folders and binaries."""
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml"))


def build(settings: Settings) -> None:
    """Builds all functions as the tests do, so that nothing compiles twice, and strips them."""
    print("==> Building the functions (a few minutes the first time)", flush=True)
    # The whole workspace, even though only the functions' binaries are wanted: cargo would choose other
    # features for fewer packages, and compile the dependencies anew for the tests.
    command = ["cargo", "build", "--locked", "--workspace", "--bins"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise StackError("the build failed: see cargo's message above")
    for name in functions():
        bootstrap = settings.directory / "functions" / name / "bootstrap"
        bootstrap.parent.mkdir(parents=True, exist_ok=True)
        if shutil.which("strip"):
            subprocess.run(["strip", "-o", str(bootstrap), str(binary(name))], check=True)
        else:
            shutil.copy2(binary(name), bootstrap)


def deploy(settings: Settings) -> dict[str, str]:
    """Deploys, and answers the stack's outputs."""
    print("==> Deploying infra/template.yaml with sam", flush=True)
    template = yaml_parse((INFRA / "template.yaml").read_text())
    parameters = {**deploy_parameters(), "JwtIssuer": settings.issuer_url, "JwtAudience": AUDIENCE}
    # For the tests, which hold the template to its rules.
    (settings.directory / "template.json").write_text(json.dumps(template))
    outputs = run_sam(settings, STACK_NAME, template, parameters)
    _mend(settings, template, outputs)
    return outputs


def run_sam(settings: Settings, stack: str, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
    """Deploys the template as a stack of this name with the real `sam deploy`; answers the stack's outputs."""
    rendered, log = settings.directory / f"{stack}.yaml", settings.logs / f"{stack}.log"
    rendered.write_text(yaml_dump(_render(settings, copy.deepcopy(template), parameters)))
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


def _render(settings: Settings, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """The template as `sam build` would leave it: each function's code is its built package.

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
    _name_packages(resources, settings.directory / "functions")
    for resource in _functions(resources).values():
        del resource["Properties"]["DeploymentPreference"]
    shared = {name: value for name, value in template["Globals"]["Function"].items() if name != "DeploymentPreference"}
    resources.pop("EventArchive", None)
    resources = {name: resource for name, resource in resources.items() if not _is_computed_alarm(resource)}
    return {**template, "Globals": {"Function": shared}, "Resources": resources}


def prebuilt() -> None:
    """Writes the template as `sam build` would leave it, and where, of what `cargo lambda build` has built."""
    template = yaml_parse((INFRA / "template.yaml").read_text())
    file = INFRA / ".aws-sam" / "build" / "template.yaml"
    _name_packages(template["Resources"], Path(os.path.relpath(ROOT / "target" / "lambda", file.parent)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml_dump(template))
    print(f"Wrote {file.relative_to(ROOT)}")


def _name_packages(resources: dict[str, Any], directory: Path) -> None:
    """Names each function's built package, so that nobody builds it again."""
    for resource in _functions(resources).values():
        name = resource.pop("Metadata")["BuildProperties"]["Binary"]
        resource["Properties"]["CodeUri"] = str(directory / name)


def _functions(resources: dict[str, Any]) -> dict[str, Any]:
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
    present = {route["RouteKey"] for route in api.get_routes(ApiId=api_id)["Items"]}
    wanted = {key: name for key, name in _routes(template) if key not in present}
    if not wanted:
        return
    arns = _function_arns(settings)
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
    for route_key, function in wanted.items():
        integration = api.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=f"{arns[function]}:live",
            PayloadFormatVersion="2.0",
        )
        api.create_route(
            ApiId=api_id,
            RouteKey=route_key,
            Target=f"integrations/{integration['IntegrationId']}",
            AuthorizationType="JWT",
            AuthorizerId=authorizer["AuthorizerId"],
        )


def _routes(template: dict[str, Any]) -> list[tuple[str, str]]:
    """The template's routes: route key and the function's logical ID."""
    return [
        (f"{event['Properties']['Method']} {event['Properties']['Path']}", logical_id)
        for logical_id, resource in _functions(template["Resources"]).items()
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
