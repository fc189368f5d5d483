"""Provides what the runbook's blocks need and the local stack lacks: Service Quotas, a webhook's secret, a PIN."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from checks import Request, Response, serving
from deployed_stack import BINARIES, TENANT, functions

CREATOR = "4711"
URL = "https://consumer.example/hooks?token=a-secret"
OLD_KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
CANARY = {"token_url": "https://issuer.example/token", "client_id": "canary", "client_secret": "old"}
CLIENT_SECRET = "a new 'one'"

# What Service Quotas lists of these services, and the values that this account has instead of the default.
DEFAULTS = {
    "lambda": {"L-B99A9384": ("Concurrent executions", 1000.0)},
    "apigateway": {"L-8A5B8E43": ("Throttle rate", 10000.0), "L-00000000": ("Client certificates", 60.0)},
}
APPLIED = {"lambda": {"L-B99A9384": ("Concurrent executions", 10.0)}}

cloudformation, secretsmanager = boto3.client("cloudformation"), boto3.client("secretsmanager")


def quotas(request: Request) -> Response:
    """Responds as Service Quotas does to the two calls that list quotas."""
    listed = APPLIED if request.headers["x-amz-target"].endswith(".ListServiceQuotas") else DEFAULTS
    service = json.loads(request.body)["ServiceCode"]
    found = [
        {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": value}
        for code, (name, value) in listed.get(service, {}).items()
    ]
    return Response(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"Quotas": found}).encode())


@dataclass
class Fakes:
    """The fakes that are in use, and what the blocks that use them must do."""

    quotas_url: str
    # A stack that has only secrets, and these by output.
    stack: str
    secrets: dict[str, str]

    def variables(self, block: str) -> dict[str, str]:
        """Returns the variables with which the block finds the fakes. AWS's tools read those of Service Quotas."""
        of_stack = any(f"output {output})" in block for output in self.secrets)
        stack = {"BINDERY_STACK": self.stack} if of_stack else {}
        return {"AWS_ENDPOINT_URL_SERVICE_QUOTAS": self.quotas_url, "CLIENT_SECRET": CLIENT_SECRET, **stack}

    def outcomes(self) -> dict[str, tuple[str, Callable[[str], object]]]:
        """Returns the conditions that must hold after a block that contains these words."""
        return {
            '--service-code "$service"': ("both values of each quota are listed", lists_quotas),
            "'sk = :person": ("the person with a PIN is listed", lists_person),
            'delete-function-concurrency --function-name "$BINDERY_STACK-cancel-orders"': (
                "cancel-orders is open again",
                lambda _: (
                    "ReservedConcurrentExecutions"
                    not in functions.get_function_concurrency(
                        FunctionName=f"{os.environ['BINDERY_STACK']}-cancel-orders"
                    )
                ),
            ),
            '"$current $new"': ("the webhook's secret has a key more, which is printed", self.has_new_key),
            "'%s' \"${current%% *}": ("only the newest key is left", self.has_only_new_key),
            'os.environ["CLIENT_SECRET"]': ("the canary has another client secret", self.has_client_secret),
        }

    def secret(self, output: str) -> str:
        """Returns the value of the secret that this output names."""
        return secretsmanager.get_secret_value(SecretId=self.secrets[output])["SecretString"]

    def has_new_key(self, printed: str) -> bool:
        """Returns whether the secret has the URL, the old key, and the key that the block has printed."""
        return self.secret("WebhookSecretArn").split(" ") == [URL, OLD_KEY, printed.splitlines()[-1]]

    def has_only_new_key(self, _: str) -> bool:
        """Returns whether the secret has the URL and one key, which is not the old one."""
        url, key = self.secret("WebhookSecretArn").split(" ")
        return url == URL and key.startswith("whsec_") and key != OLD_KEY

    def has_client_secret(self, _: str) -> bool:
        """Returns whether only the client secret has changed."""
        return json.loads(self.secret("CanarySecretArn")) == {**CANARY, "client_secret": CLIENT_SECRET}


def lists_quotas(printed: str) -> bool:
    """Returns whether both values of the quota were printed, in order, and no quota that does not matter."""
    rows = [row.split("\t")[1:3] for row in printed.splitlines() if row.count("\t") == 3]
    return rows == [["L-B99A9384", "1000.0"], ["L-8A5B8E43", "10000.0"], ["L-B99A9384", "10.0"]]


def lists_person(printed: str) -> bool:
    """Returns whether the person who has a PIN was printed."""
    return f"{TENANT}#PERSON#{CREATOR}\tTrue" in printed.splitlines()


def set_pin() -> None:
    """Sets a PIN, so that there is a person who has one."""
    command = [BINARIES / "bindery", "--yes", "pin", CREATOR, "--tenant", TENANT]
    subprocess.run(command, input="7295\n", check=True, capture_output=True, text=True)


@contextmanager
def fakes() -> Iterator[Fakes]:
    """Yields the fakes. The secrets that the stack under test lacks are in a stack of their own."""
    name = f"bindery-secrets-{uuid.uuid4().hex[:8]}"
    texts = {"WebhookSecret": f"{URL} {OLD_KEY}", "CanarySecret": json.dumps(CANARY)}
    kind = "AWS::SecretsManager::Secret"
    resources = {one: {"Type": kind, "Properties": {"SecretString": text}} for one, text in texts.items()}
    outputs = {f"{one}Arn": {"Value": {"Ref": one}} for one in texts}
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources, "Outputs": outputs}))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    set_pin()
    try:
        with serving(quotas) as url:
            yield Fakes(url, name, {output["OutputKey"]: output["OutputValue"] for output in found})
    finally:
        cloudformation.delete_stack(StackName=name)
