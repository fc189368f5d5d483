"""Access tokens of the local stack's issuer. In a deployment they come from its identity provider."""

import argparse
import json
import os
import time

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from .issuer import KEY_ID, encode, key, scopes
from .settings import AUDIENCE, Settings

HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS


def make(
    settings: Settings,
    tenant: str,
    account: str,
    scope: str | None = None,
    expires_in: int = DAY_SECONDS,
    audience: str = AUDIENCE,
) -> str:
    """Signs a token. Omits empty claims. `expires_in` is in seconds, and may be negative.

    Without `scope`, the token has every scope.
    """
    now = int(time.time())
    expires = now + expires_in
    claims = {"iss": settings.issuer_url, "sub": "local", "aud": audience, "exp": expires}
    claims["scope"] = " ".join(scopes()) if scope is None else scope
    # An expired token gets an issue time an hour before its expiry.
    claims["iat"] = now if expires > now else expires - HOUR_SECONDS
    claims |= {name: value for name, value in (("tenant_id", tenant), ("account_id", account)) if value}
    header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    signature = key(settings).sign(text.encode(), padding.PKCS1v15(), SHA256())
    return f"{text}.{encode(signature)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ./infra/local/token."""
    parser.add_argument("--tenant", default=os.environ.get("BINDERY_TENANT", ""), help="tenant_id; omitted if empty")
    parser.add_argument("--account", default=os.environ.get("BINDERY_ACCOUNT", ""), help="account_id; omitted if empty")
    parser.add_argument("--scope", help="scopes, separated by spaces (default: all)")
    parser.add_argument("--expires-in", type=int, default=DAY_SECONDS, help="seconds from now; may be negative")
    parser.add_argument("--audience", default=AUDIENCE, help="the claim aud")


def of_arguments(settings: Settings, arguments: argparse.Namespace) -> str:
    """Returns the token that these flags describe."""
    return make(
        settings, arguments.tenant, arguments.account, arguments.scope, arguments.expires_in, arguments.audience
    )
