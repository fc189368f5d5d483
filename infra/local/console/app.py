"""The console's web server: its pages, tokens, the proxy to the API, and the stream of the stack's state."""

import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request, send_from_directory
from stack import issuer
from stack.guard import REFUSAL, is_stranger
from stack.settings import Settings
from stack.token import make as make_token

from . import proxy, reference
from .watcher import Watcher

STATIC = Path(__file__).parent / "static"
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
TOKEN_SECONDS = 24 * 60 * 60
HEADERS = {
    # Swagger UI uses inline styles, and has its icons in its style sheet.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def make_app(watcher: Watcher) -> Flask:
    """Returns the Flask application."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # the reference shows members in the document's order
    app.before_request(refuse_strangers)
    app.after_request(add_headers)
    app.add_url_rule("/", view_func=lambda: send_from_directory(STATIC, "index.html"), endpoint="live")
    app.add_url_rule(
        "/reference", view_func=lambda: send_from_directory(STATIC, "reference.html"), endpoint="reference"
    )
    app.add_url_rule("/static/<path:name>", view_func=lambda name: send_from_directory(STATIC, name), endpoint="static")
    app.add_url_rule(
        "/swagger-ui/<path:name>", view_func=lambda name: send_from_directory(SWAGGER_UI, name), endpoint="swagger"
    )
    app.add_url_rule("/openapi.json", view_func=reference.document)
    app.add_url_rule("/defaults.json", view_func=defaults)
    app.add_url_rule("/token", view_func=token, methods=["POST"])
    app.add_url_rule(f"{proxy.PREFIX}/<path:path>", view_func=proxy.forward, methods=proxy.METHODS)
    app.add_url_rule("/stream", view_func=lambda: stream(watcher), endpoint="stream")
    return app


def refuse_strangers() -> None:
    """Refuses requests from pages other than the console's own, because it issues tokens."""
    if is_stranger(request.headers.get, has_pages=True):
        abort(403, REFUSAL)


def add_headers(response: Response) -> Response:
    """Adds the security headers to every response."""
    response.headers.update(HEADERS)
    return response


def defaults() -> dict[str, Any]:
    """Returns the page's first identity, with every scope of the issuer."""
    identity = {name: os.environ[f"BINDERY_{name.upper()}"] for name in ("tenant", "account", "customer")}
    return {**identity, "scopes": issuer.scopes()}


def token() -> Any:
    """Returns a token of the local stack's issuer for the requested tenant, account and scopes."""
    asked = request.get_json()
    names = ("tenant", "account", "scope")
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name), str) for name in names):
        abort(400)
    made = make_token(Settings.from_environment(), **{name: asked[name] for name in names}, expires_in=TOKEN_SECONDS)
    return {"token": made}


def stream(watcher: Watcher) -> Response:
    """Streams the state of one tenant as server-sent events, until the page disconnects."""
    tenant = request.args.get("tenant", "")

    def lines() -> Iterator[str]:
        for name, value in watcher.follow(tenant):
            yield f"event: {name}\ndata: {json.dumps(value)}\n\n"

    return Response(lines(), mimetype="text/event-stream")
