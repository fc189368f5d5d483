"""Writes the stack's variables for the shell and for `cargo lambda watch`, and prints the next steps."""

import json
import re
import secrets
import shlex
import sys
from ipaddress import ip_address
from pathlib import Path

from . import demo, orders, token
from .deploy import functions_of
from .settings import (
    AUDIENCE,
    DEMO_ACCOUNT,
    DEMO_CUSTOMER,
    DEMO_TENANT,
    ROOT,
    STACK_NAME,
    Settings,
    deploy_parameters,
    free_port,
)
from .template import read_template


def write(settings: Settings, outputs: dict[str, str]) -> dict[str, str]:
    """Writes `env` (export lines for a shell), `watch.env` and `watch.toml` (for `cargo lambda watch`).

    Issues a few cards for them, and returns the shell's variables.
    """
    aws = settings.aws_environment()
    resources = {
        "TABLE_NAME": outputs["TableName"],
        "EVENT_BUS_NAME": outputs["EventBusName"],
        **queue_urls(outputs),
        "PIN_PEPPER_SECRET": outputs["PinPepperSecret"],
        "STACK_NAME": STACK_NAME,
    }
    command = str(ROOT / "infra" / "local" / "token")
    directory = settings.directory.resolve()
    if directory != ROOT / "target" / "local":
        command = f"env BINDERY_LOCAL_DIR={shlex.quote(str(directory))} {command}"
    shell = {
        "BINDERY_URL": f"{settings.aws_url}/_aws/execute-api/{outputs['ApiId']}/$default",
        "BINDERY_STACK": STACK_NAME,
        "BINDERY_LOCAL_DIR": str(directory),
        "BINDERY_TENANT": DEMO_TENANT,
        "BINDERY_ACCOUNT": str(DEMO_ACCOUNT),
        "BINDERY_CUSTOMER": str(DEMO_CUSTOMER),
        "BINDERY_TOKEN_COMMAND": command,
        **aws,
        **resources,
        "BINDERY_CONSOLE_URL": settings.console_url,
        **watch_address(),
        "CARGO_LAMBDA_GLOBAL": str(directory / "watch.toml"),
    }
    shell["BINDERY_TOKEN"] = token.make(settings, DEMO_TENANT, str(DEMO_ACCOUNT))
    demo.seed_sample(settings, outputs["TableName"])
    api = demo.Api(settings, shell)
    shell |= demo.cards(api)
    shell |= orders.order_with_pin(api)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in shell.items())
    _write_private(settings.directory / "env", exports)

    watch = {
        **aws,
        **resources,
        "CARD_EXPIRY_MONTHS": "72",
        "TENANT_RATE": "0",
        "TENANT_BURST": "1000",
        "MAX_RECEIVES": deploy_parameters().get("MaxReceives", "5"),
        "AUTH_ISSUER": settings.issuer_url,
        "AUTH_AUDIENCE": AUDIENCE,
    }
    _write_private(settings.directory / "watch.env", "".join(f"{name}={value}\n" for name, value in watch.items()))
    (settings.directory / "watch.toml").write_text(watch_routes())
    return shell


def watch_routes() -> str:
    """Returns the template's routes as cargo-lambda's configuration, so that it serves the API's paths."""
    routes: dict[str, list[str]] = {}
    for resource in functions_of(read_template()["Resources"]).values():
        name = json.dumps(resource["Metadata"]["BuildProperties"]["Binary"])
        for event in resource["Properties"].get("Events", {}).values():
            if event["Type"] == "HttpApi":
                method, path = (json.dumps(event["Properties"][key]) for key in ("Method", "Path"))
                routes.setdefault(path, []).append(f"{{ method = {method}, function = {name} }}")
    lines = (f"{path} = [{', '.join(by_method)}]\n" for path, by_method in routes.items())
    return "[watch.router]\n" + "".join(lines)


def queue_urls(outputs: dict[str, str]) -> dict[str, str]:
    """Returns the queues among the outputs as variables, such as `BIND_CARD_QUEUE_URL` for `BindCardQueueUrl`."""
    queues = {name: url for name, url in outputs.items() if name.endswith(("QueueUrl", "DlqUrl"))}
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper(): url for name, url in queues.items()}


def watch_address() -> dict[str, str]:
    """Returns an address for `cargo lambda watch` that no web page can guess, because it serves every request.

    On Linux all of 127.0.0.0/8 is this machine. Elsewhere it is only 127.0.0.1, so that only the port must be guessed.
    """
    hidden = secrets.randbelow(2**24 - 2) + 1
    address = str(ip_address("127.0.0.0") + hidden) if sys.platform == "linux" else "127.0.0.1"
    port = str(free_port(address))
    return {
        "BINDERY_WATCH_ADDRESS": address,
        "BINDERY_WATCH_PORT": port,
        "BINDERY_WATCH_URL": f"http://{address}:{port}",
    }


def print_next_steps(settings: Settings) -> None:
    """Prints the last message of `up`."""
    directory = settings.directory.resolve()
    shown = directory.relative_to(ROOT) if directory.is_relative_to(ROOT) else directory
    print(f"""
The stack runs in the background. Next:

  source {shown}/env             # addresses, a token, a card to bind
  curl -i -X PUT "$BINDERY_URL/wallet/v2/cards/$BINDERY_CARD/noname/bind" \\
    -H "Authorization: Bearer $BINDERY_TOKEN" \\
    -H "x-account-id: $BINDERY_ACCOUNT" -H "x-customer-id: $BINDERY_CUSTOMER"

  ./infra/local/down                  # stops the stack

The console, with the API reference: {settings.console_url}/
""")


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
