"""The stack's directory, ports and names."""

import os
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INFRA = ROOT / "infra"
TOOLS = ROOT / "target" / "local" / "venv" / "bin"

DEFAULT_PORT = 4566
REGION = "eu-central-1"
STACK_NAME = "bindery-local"
AUDIENCE = "bindery"
DEMO_TENANT = "TN-11111111-2222-4333-8444-555555555555"
DEMO_ACCOUNT = 4001
DEMO_CUSTOMER = 7001


# Requests to this machine must not go through a proxy.
for _name in ("NO_PROXY", "no_proxy"):
    _hosts = [*filter(None, os.environ.get(_name, "").split(",")), "127.0.0.0/8", "127.0.0.1", "localhost"]
    os.environ[_name] = ",".join(dict.fromkeys(_hosts))


class StackError(Exception):
    """An error that the user can fix. Its text describes how, in one line."""


@dataclass(frozen=True)
class Settings:
    """One instance of the stack."""

    directory: Path
    first_port: int

    @staticmethod
    def from_environment() -> "Settings":
        """Reads BINDERY_LOCAL_DIR and BINDERY_PORT."""
        directory = ROOT / os.environ.get("BINDERY_LOCAL_DIR", "target/local")
        port = os.environ.get("BINDERY_PORT", str(DEFAULT_PORT))
        if not port.isdecimal() or int(port) > 65533:
            raise SystemExit(f"BINDERY_PORT must be a port, not {port!r}")
        return Settings(directory, int(port))

    @property
    def logs(self) -> Path:
        """Returns the directory of the servers' logs."""
        return self.directory / "logs"

    @property
    def ports(self) -> tuple[int, int, int]:
        """Returns the ports of the AWS services, the token issuer and the console, chosen once per start."""
        file = self.directory / "ports"
        known = [int(port) for port in file.read_text().split()] if file.exists() else []
        for number in range(len(known), 3):
            known.append(self.first_port + number if self.first_port else free_port())
            self.directory.mkdir(parents=True, exist_ok=True)
            file.write_text(" ".join(str(port) for port in known))
        aws, issuer, console = known
        return aws, issuer, console

    @property
    def aws_url(self) -> str:
        """Returns the URL of the AWS services."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def issuer_url(self) -> str:
        """Returns the URL of the token issuer."""
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def console_url(self) -> str:
        """Returns the URL of the console."""
        return f"http://127.0.0.1:{self.ports[2]}"

    def aws_environment(self) -> dict[str, str]:
        """Returns the variables that make an AWS SDK or tool use only this stack."""
        return {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "NO_PROXY": os.environ["NO_PROXY"],
            "no_proxy": os.environ["no_proxy"],
        }


def binary(name: str) -> Path:
    """Returns the path of a workspace binary, as `up` and the tests build it."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / name


def free_port(address: str = "127.0.0.1") -> int:
    """Returns a port on which no program listens."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def deploy_parameters() -> dict[str, str]:
    """Returns the local environment's template parameters, from samconfig.toml."""
    config = tomllib.loads((INFRA / "samconfig.toml").read_text())
    overrides = config["local"]["deploy"]["parameters"]["parameter_overrides"]
    return dict(override.split("=", 1) for override in overrides)
