"""A token issuer for this machine: a discovery document, a key set and a token endpoint.

It replaces the identity provider of a deployment. `./infra/local/token` signs any claims with its key.
"""

import base64
import functools
import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .guard import guard_handlers
from .settings import INFRA, Settings

KEY_ID = "local-1"
TOKEN_PATH = "/token"

# Takes the `Authorization` header and the body of a token request, and returns the response's status and body.
Grant = Callable[[str, str], tuple[int, dict[str, Any]]]


def serve(settings: Settings, descriptor: int, grant: Grant) -> None:
    """Serves the documents and the token endpoint on this socket until the process is stopped."""
    documents = {
        "/.well-known/openid-configuration": {
            "issuer": settings.issuer_url,
            "jwks_uri": f"{settings.issuer_url}/jwks.json",
            "token_endpoint": f"{settings.issuer_url}{TOKEN_PATH}",
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": scopes(),
        },
        "/jwks.json": {"keys": [_public_jwk(settings)]},
    }

    class Handler(BaseHTTPRequestHandler):
        """Responds to GET with one of the documents, and to a token request with a token."""

        def do_GET(self) -> None:  # noqa: N802 (the base class's name)
            document = documents.get(self.path)
            self.respond(200 if document else 404, document or {"message": "Not Found"})

        def do_POST(self) -> None:  # noqa: N802 (the base class's name)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
            is_token = self.path == TOKEN_PATH
            granted = grant(self.headers.get("Authorization", ""), body) if is_token else (404, {})
            self.respond(*granted)

        def respond(self, status: int, document: dict[str, Any]) -> None:
            """Responds with this JSON."""
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Logs nothing for a request."""

    guard_handlers()
    taken = socket.socket(fileno=descriptor)
    server = ThreadingHTTPServer(taken.getsockname(), Handler, bind_and_activate=False)
    server.socket = taken
    server.serve_forever()


@functools.cache
def scopes() -> list[str]:
    """Returns every scope that an operation of the API requires, from the API document."""
    document = yaml.load((INFRA / "api" / "openapi.yaml").read_text(), yaml.CSafeLoader)
    operations = [part for path in document["paths"].values() for part in path.values() if isinstance(part, dict)]
    asked_for = [way["BearerAuth"] for operation in operations for way in operation.get("security", [])]
    return sorted({scope for words in asked_for for scope in words})


def key(settings: Settings) -> rsa.RSAPrivateKey:
    """Returns the issuer's key. Creates it at the first call."""
    file = settings.directory / "issuer-key.pem"
    if file.exists():
        known = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(known, rsa.RSAPrivateKey)
        return known
    new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = new.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(pem)
    return new


def _public_jwk(settings: Settings) -> dict[str, str]:
    numbers = key(settings).public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    exponent = numbers.e.to_bytes(3, "big")
    jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID}
    return {**jwk, "n": encode(modulus), "e": encode(exponent)}


def encode(data: bytes) -> str:
    """Encodes bytes as JOSE does: base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
