"""The issuer's token endpoint: the client credentials grant of OAuth 2.0 (RFC 6749, section 4.4), for the canary only.

In a deployment, the identity provider has this endpoint.
"""

import base64
import hmac
import json
import secrets
from typing import Any
from urllib.parse import parse_qs

from . import token
from .issuer import scopes
from .settings import DEMO_TENANT, Settings

CLIENT_ID = "canary"
# As short as some issuers' tokens.
LIFETIME_SECONDS = 300


def grant(settings: Settings, authorization: str, body: str) -> tuple[int, dict[str, Any]]:
    """Returns the status and the body of the response to a token request."""
    pair = f"{CLIENT_ID}:{client_secret(settings)}"
    # A secret of letters and digits is the same in the encoding of forms.
    expected = "Basic " + base64.b64encode(pair.encode()).decode()
    if not hmac.compare_digest(authorization.encode(), expected.encode()):
        return 401, {"error": "invalid_client"}
    form = {name: values[0] for name, values in parse_qs(body).items()}
    if form.get("grant_type") != "client_credentials":
        return 400, {"error": "unsupported_grant_type"}
    scope = form.get("scope", "")
    if not set(scope.split()) <= set(scopes()):
        return 400, {"error": "invalid_scope"}
    granted = token.make(settings, DEMO_TENANT, "", scope, LIFETIME_SECONDS)
    return 200, {"access_token": granted, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS, "scope": scope}


def client_secret(settings: Settings) -> str:
    """Returns the client's secret. Creates it at the first call."""
    file = settings.directory / "canary-client-secret"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    return file.read_text()


def canary_secret(settings: Settings) -> str:
    """Returns the text of the deployed CanarySecret."""
    return json.dumps(
        {
            "token_url": f"{settings.issuer_url}/token",
            "client_id": CLIENT_ID,
            "client_secret": client_secret(settings),
            "scope": "operations:read",
        }
    )
