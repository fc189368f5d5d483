"""A proxy to the API. The page and the proxy have the same origin, so a browser allows its requests."""

import os

import requests
from flask import Response, abort, request

PREFIX = "/proxy"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
SECONDS = 40
# Headers of the connection, the browser or this origin, which are not forwarded.
NOT_FORWARDED = {"connection", "host", "origin", "referer", "cookie", "content-length", "transfer-encoding"}
BROWSERS = "sec-"  # the prefix of headers that a page cannot set
RETURNED = (
    "content-type",
    "location",
    "retry-after",
    "idempotent-replayed",
    "x-correlation-id",
    "www-authenticate",
    "allow",
)


def forward(path: str) -> Response:
    """Forwards the request to the API unchanged, and returns the API's response."""
    if any(segment in (".", "..") for segment in path.split("/")):
        abort(400)
    # Not decoded, because an ID may contain any character.
    target = request.environ["RAW_URI"].removeprefix(PREFIX)
    headers = {name: value for name, value in request.headers if is_clients(name.lower())}
    try:
        with requests.Session() as session:
            # Ignores the shell's proxy and credentials for other hosts (HTTP_PROXY, ~/.netrc).
            session.trust_env = False
            response = session.request(
                request.method,
                os.environ["BINDERY_URL"] + target,
                headers=headers,
                data=request.get_data(),
                timeout=SECONDS,
                allow_redirects=False,
            )
    except requests.RequestException as error:
        return Response(f"The API did not respond: {type(error).__name__}", 502, mimetype="text/plain")
    returned = {name: response.headers[name] for name in RETURNED if name in response.headers}
    return Response(response.content, response.status_code, returned)


def is_clients(name: str) -> bool:
    """Returns whether the client may set this header."""
    return name not in NOT_FORWARDED and not name.startswith(BROWSERS)
