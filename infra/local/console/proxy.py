"""The way from the page to the API: the same origin, so that a browser lets it pass."""

import os

import requests
from flask import Response, abort, request

PREFIX = "/proxy"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
SECONDS = 40
# What belongs to the connection, to the browser or to this origin, and is not the client's to say.
KEPT_BACK = {"connection", "host", "origin", "referer", "cookie", "content-length", "transfer-encoding"}
BROWSERS = "sec-"  # what a page cannot set begins so
ANSWERED = (
    "content-type",
    "location",
    "retry-after",
    "idempotent-replayed",
    "x-correlation-id",
    "www-authenticate",
    "allow",
)


def forward(path: str) -> Response:
    """Sends the request to the API as it came, and answers what the API answers."""
    if any(segment in (".", "..") for segment in path.split("/")):
        abort(400)
    # As it was sent, not decoded: an ID may hold any character.
    target = request.environ["RAW_URI"].removeprefix(PREFIX)
    headers = {name: value for name, value in request.headers if is_clients(name.lower())}
    try:
        with requests.Session() as session:
            # Neither a proxy nor credentials that the shell has for the rest of the world (HTTP_PROXY, ~/.netrc).
            session.trust_env = False
            answer = session.request(
                request.method,
                os.environ["BINDERY_URL"] + target,
                headers=headers,
                data=request.get_data(),
                timeout=SECONDS,
                allow_redirects=False,
            )
    except requests.RequestException as error:
        return Response(f"The API did not answer: {type(error).__name__}", 502, mimetype="text/plain")
    kept = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def is_clients(name: str) -> bool:
    """Whether a header is the client's to say."""
    return name not in KEPT_BACK and not name.startswith(BROWSERS)
