"""The commands behind the scripts in infra/local, infra/prebuilt and infra/release."""

import argparse
import functools
import sys
from pathlib import Path

from . import clients, issuer, processes, token
from .settings import Settings, StackError


def up(settings: Settings, with_demo: bool) -> None:
    """Starts the stack, or updates a running one."""
    # Imported here, because loading the AWS tools would slow down the other commands.
    from . import demo, deploy, environment, events, orders

    processes.check_ports(settings)
    processes.start(settings)
    outputs = deploy.deploy(settings)
    outputs["ConsoleQueueUrl"] = events.subscribe_console(settings, outputs["EventBusName"])
    variables = environment.write(settings, outputs)
    processes.start_console(settings, variables)
    if with_demo:
        api = demo.Api(settings, variables)
        demo.run(api)
        orders.run(api)
    environment.print_next_steps(settings)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(prog="infra/local")
    commands = parser.add_subparsers(dest="command", required=True)
    up_command = commands.add_parser("up", help="start the stack")
    up_command.add_argument("--no-demo", action="store_true", help="do not run the demo")
    commands.add_parser("down", help="stop the stack")
    token.add_arguments(commands.add_parser("token", help="print an access token of the stack's issuer"))
    commands.add_parser("prebuilt", help="write the template for the functions that cargo-lambda has built")
    release = commands.add_parser(
        "release", help="pack the functions that cargo-lambda has built, and write their template"
    )
    release.add_argument("directory", type=Path)
    release.add_argument("architecture", choices=["arm64", "x86_64"])
    serve = commands.add_parser("serve-issuer", help="(internal) serve the token issuer")
    serve.add_argument("descriptor", type=int, help="the file descriptor of its socket")
    return parser


def main() -> int:
    """Runs one command, and prints a StackError as one line."""
    arguments = parser().parse_args()
    settings = Settings.from_environment()
    try:
        match arguments.command:
            case "up":
                up(settings, with_demo=not arguments.no_demo)
            case "down":
                processes.stop(settings)
            case "token":
                print(token.of_arguments(settings, arguments))
            case "prebuilt":
                from . import packages

                packages.prebuilt()
            case "release":
                from . import packages

                packages.release(arguments.directory, arguments.architecture)
            case "serve-issuer":
                issuer.serve(settings, arguments.descriptor, functools.partial(clients.grant, settings))
    except StackError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


sys.exit(main())
