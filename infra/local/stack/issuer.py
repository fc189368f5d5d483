"""A token issuer for this machine: discovery document, key set, and tokens signed with a key of its own.

It stands in for the identity provider of a deployment, and hands out whatever it is asked for.
"""

import argparse
import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .settings import AUDIENCE, DEMO_ACCOUNT, DEMO_TENANT, SCOPES, Settings

KEY_ID = "local-1"
DAY_SECONDS = 24 * 60 * 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the token command."""
    parser.add_argument("--tenant", default=DEMO_TENANT, help="tenant_id; empty: none")
    parser.add_argument("--account", default=str(DEMO_ACCOUNT), help="account_id; empty: none")
    parser.add_argument("--scope", default=SCOPES, help="scopes, separated by spaces")
    parser.add_argument("--expires-in", type=int, default=DAY_SECONDS, help="seconds from now; may be negative")
    parser.add_argument("--audience", default=AUDIENCE)


def token_from_arguments(settings: Settings, arguments: argparse.Namespace) -> str:
    """The token that the flags ask for."""
    claims = {"aud": arguments.audience, "scope": arguments.scope}
    if arguments.tenant:
        claims["tenant_id"] = arguments.tenant
    if arguments.account:
        claims["account_id"] = arguments.account
    return token(settings, claims, arguments.expires_in)


def demo_token(settings: Settings) -> str:
    """An account token of the demo account, with all scopes."""
    claims = {"tenant_id": DEMO_TENANT, "account_id": str(DEMO_ACCOUNT), "aud": AUDIENCE, "scope": SCOPES}
    return token(settings, claims, DAY_SECONDS)


def token(settings: Settings, claims: dict[str, Any], expires_in: int) -> str:
    """A token with these claims, issued now (or, if it has expired, an hour before that)."""
    now = int(time.time())
    issued = min(now, now + expires_in - 3600) if expires_in <= 0 else now
    payload = {"iss": settings.issuer_url, "sub": "local", "iat": issued, "exp": now + expires_in, **claims}
    header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(payload).encode())}"
    signature = _key(settings).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_encode(signature)}"


def serve(settings: Settings, port: int) -> None:
    """Serves the discovery document and the key set until it is stopped."""
    documents = {
        "/.well-known/openid-configuration": {
            "issuer": settings.issuer_url,
            "jwks_uri": f"{settings.issuer_url}/jwks.json",
            "id_token_signing_alg_values_supported": ["RS256"],
        },
        "/jwks.json": {"keys": [_public_jwk(settings)]},
    }

    class Handler(BaseHTTPRequestHandler):
        """Answers GET with one of the documents."""

        def do_GET(self) -> None:  # noqa: N802 (the base class's name)
            document = documents.get(self.path)
            body = json.dumps(document or {"message": "Not Found"}).encode()
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps the log to errors."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _key(settings: Settings) -> rsa.RSAPrivateKey:
    file = settings.directory / "issuer-key.pem"
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(pem)
    return key


def _public_jwk(settings: Settings) -> dict[str, str]:
    numbers = _key(settings).public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    exponent = numbers.e.to_bytes(3, "big")
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID}
    return {**key, "n": _encode(modulus), "e": _encode(exponent)}


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
