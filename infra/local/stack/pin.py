"""Sets a person's PIN: writes their row with its hash. The function `cancel-orders` verifies it.

Works on the table and the pepper that TABLE_NAME and PIN_PEPPER_SECRET name, by the usual AWS variables: those of
the local stack, or of a deployment.
"""

import argparse
import getpass
import hashlib
import hmac
import os
import re
from typing import Any

import boto3
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from .settings import DEMO_TENANT, StackError

# OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB, 2 iterations, 1 degree of parallelism.
TENANT = re.compile(r"TN-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
MEMORY_KIB, ITERATIONS, LANES = 19 * 1024, 2, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the pin command."""
    parser.add_argument("creator_id", type=int, help="the person who creates orders")
    parser.add_argument("pin", nargs="?", help="the PIN; asked for if it is left out")
    parser.add_argument("--tenant", default=DEMO_TENANT, help="the organisation (default: the demo's)")
    parser.add_argument("--not-required", action="store_true", help="orders are canceled without the PIN")


def set_pin(arguments: argparse.Namespace) -> None:
    """Writes the person's row; wrong tries before count no more."""
    missing = [name for name in ("TABLE_NAME", "PIN_PEPPER_SECRET") if not os.environ.get(name)]
    if missing:
        raise StackError(f"set {' and '.join(missing)}: source target/local/env, or name your deployment's")
    if not TENANT.fullmatch(arguments.tenant):
        raise StackError(f"{arguments.tenant} is no tenant: TN- and a UUID")
    if not -(2**31) <= arguments.creator_id < 2**31:
        raise StackError(f"{arguments.creator_id} is no 32-bit integer")
    try:
        pin = arguments.pin if arguments.pin is not None else getpass.getpass("PIN: ")
    except EOFError:
        pin = ""
    if not pin:
        raise StackError("the PIN is empty")
    names = {name: os.environ[name] for name in ("TABLE_NAME", "PIN_PEPPER_SECRET")}
    secrets, table = boto3.client("secretsmanager"), boto3.client("dynamodb")
    write(secrets, table, names, arguments.creator_id, pin, arguments.tenant, required=not arguments.not_required)
    required = "not required" if arguments.not_required else "required"
    print(f"The PIN of {arguments.creator_id} is set, and {required}.")


def write(
    secrets: Any,
    table: Any,
    names: dict[str, str],
    person: int,
    pin: str,
    tenant: str = DEMO_TENANT,
    required: bool = True,
) -> None:
    """Puts the person's row, with these clients, into the table and by the pepper of these names."""
    pepper = secrets.get_secret_value(SecretId=names["PIN_PEPPER_SECRET"])["SecretString"]
    mixed = hmac.digest(pepper.encode(), f"{tenant}\n{person}\n{pin}".encode(), hashlib.sha256)
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB)
    table.put_item(
        TableName=names["TABLE_NAME"],
        Item={
            "pk": {"S": f"{tenant}#PERSON#{person}"},
            "sk": {"S": "PERSON"},
            "creator_id": {"N": str(person)},
            "pin_required": {"BOOL": required},
            "pin_hash": {"S": kdf.derive_phc_encoded(mixed)},
            "tries": {"N": "0"},
            "locked_until": {"N": "0"},
        },
    )
