#!/usr/bin/env python3
"""Tries to use the local stack whose variables are set from pages of other origins in a real browser.

Called by ./tests/run. The browser is $BINDERY_CHROMIUM. The pages send requests to every port on which the stack's
processes listen, including the emulator's Lambda Runtime APIs, in every way that a page can. Programs must still get
responses. The script also checks that `up` does not mistake another server for its own.
"""

import base64
import io
import json
import os
import socket
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import requests
from checks import Request, Response, check, serving
from playwright.sync_api import Browser, Page, sync_playwright
from stack import processes
from stack.settings import Settings, StackError

SETTINGS = Settings.from_environment()
AWS = urlsplit(os.environ["AWS_ENDPOINT_URL"])
CONSOLE = os.environ["BINDERY_CONSOLE_URL"]
# A foreign name that resolves to this machine, as after DNS rebinding. So does each name below it.
NAME = "bindery.example"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
# Names and addresses that reach this machine. The last one does on Linux.
HOSTS = ("127.0.0.1", "localhost", f"x{uuid.uuid4().hex[:6]}.localhost", NAME, "0.0.0.0")
QUEUE = f"canary-{uuid.uuid4()}"
LISTENS = "0A"  # in /proc/net/tcp
# Does everything that a page can do without a permission, and returns what it learns. Some responses never end.
ATTACK = """async ({bases, paths, functions, queueUrl, sockets}) => {
    const learned = [], SECONDS = 60;
    const remove = new URLSearchParams({Action: "DeleteQueue", Version: "2012-11-05", QueueUrl: queueUrl});
    const asJson = {"content-type": "application/json", "x-amz-target": "AmazonSQS.DeleteQueue"};
    const deletion = {method: "POST", headers: asJson, body: JSON.stringify({QueueUrl: queueUrl})};
    const soon = begin => new Promise(done => { setTimeout(done, SECONDS * 1000); begin(done); });
    const ask = async (url, options = {}) => {
        try {
            const response = await fetch(url, {...options, signal: AbortSignal.timeout(SECONDS * 1000)});
            if (response.type !== "opaque") learned.push(`${url}: ${response.status}`);
        } catch (error) {
            if (error.name === "TimeoutError") learned.push(`${url}: timed out`);
        }
    };
    const load = (name, url) => soon(done => {
        const element = document.createElement(name);
        element.onload = () => { learned.push(`${name} ${url}: loaded`); done(); };
        element.onerror = done;
        element.src = url;
        document.body.append(element);
    });
    const submit = (enctype, action, fields) => soon(done => {
        const [frame, form] = [document.createElement("iframe"), document.createElement("form")];
        frame.name = "f" + Math.random();
        document.body.append(frame, form);
        Object.assign(form, {method: "POST", action, target: frame.name, enctype});
        for (const [name, value] of fields) {
            form.append(Object.assign(document.createElement("input"), {type: "hidden", name, value}));
        }
        frame.onload = done;
        document.addEventListener("securitypolicyviolation", done);
        form.submit();
    });
    const open = url => soon(done => {
        const opened = new WebSocket(url.replace("http", "ws"));
        opened.onopen = () => { learned.push(`${url}: open`); done(); };
        opened.onerror = done;
    });
    const run = async (base, way, body) => {
        const url = `${base}/2015-03-31/functions`;
        if (way === "form") {
            // A field whose name, "=" and value form JSON together.
            await submit("text/plain", url, [[body.slice(0, -1) + ', "x": "', '"}']]);
        } else {
            await ask(url, {method: "POST", mode: way, body});
        }
        const mode = way === "form" ? "no-cors" : way;
        await ask(`${url}/${JSON.parse(body).FunctionName}/invocations`, {method: "POST", mode, body: "{}"});
    };
    const attack = base => Promise.all([
        ...paths.map(path => ask(base + path)),
        ...Object.entries(functions[base]).map(([way, body]) => run(base, way, body)),
        ask(base, deletion),
        ask(`${base}/?${remove}`, {mode: "no-cors"}),
        ask(`${base}/token`, {method: "POST", body: "{}"}),
        submit("application/x-www-form-urlencoded", base, [...remove]),
        load("img", `${base}/?${remove}`),
        load("script", `${base}/?${remove}`),
    ]);
    await Promise.all(bases.map(attack));
    await Promise.all(sockets.map(open));
    return learned;
}"""


def by_program(path: str, method: str = "POST", service: str = "lambda", **options: Any) -> Any:
    """Sends a request as a program does, signed like an SDK's, and returns the emulator's response."""
    signed = "AWS4-HMAC-SHA256 Credential=test/20261129/eu-central-1/{}/aws4_request, SignedHeaders=host, Signature=x"
    headers = {"Authorization": signed.format(service), **options.pop("headers", {})}
    response = requests.request(method, AWS.geturl() + path, headers=headers, timeout=30, **options)
    response.raise_for_status()
    return response.json()


def sqs(call: str, request: dict[str, str]) -> Any:
    """Sends a request to SQS as a program does, and returns the response."""
    headers = {"X-Amz-Target": f"AmazonSQS.{call}", "Content-Type": "application/x-amz-json-1.0"}
    return by_program("/", service="sqs", headers=headers, data=json.dumps(request))


def listening() -> list[tuple[str, int]]:
    """Returns every address and port on which a process of the stack listens."""
    if not Path("/proc/net/tcp").exists():
        return [("127.0.0.1", port) for port in SETTINGS.ports]
    groups = {(SETTINGS.directory / f"{name}.pid").read_text() for name in processes.SERVERS}
    sockets = set[str]()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # Fields after the name, which may contain anything: state, parent, group.
            if (process / "stat").read_text().rpartition(")")[2].split()[2] in groups:
                sockets |= {os.readlink(file) for file in (process / "fd").iterdir()}
        except OSError:
            continue  # The process has ended.
    found = set[tuple[str, int]]()
    for line in [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()]:
        if line[3] == LISTENS and f"socket:[{line[9]}]" in sockets:
            address, port = line[1].split(":")
            # The kernel writes addresses in the machine's byte order.
            found.add((".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16)))
    return sorted(found)


def evil_function(marker: Path) -> dict[str, str]:
    """Returns requests to create a function that writes a file on this machine, one for each way to send it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.py", f"def handler(event, context):\n    open({str(marker)!r}, 'w').close()\n")
    code = {"ZipFile": base64.b64encode(archive.getvalue()).decode()}
    rest = {"Runtime": "python3.11", "Role": "arn:aws:iam::000000000000:role/x", "Handler": "x.handler", "Code": code}
    return {way: json.dumps({"FunctionName": f"evil-{uuid.uuid4()}", **rest}) for way in ("cors", "no-cors", "form")}


@contextmanager
def foreign_server() -> Iterator[int]:
    """Runs a foreign server with a page, and with redirects to any URL. Yields its port."""

    def respond(request: Request) -> Response:
        to = parse_qs(urlsplit(request.path).query).get("to")
        moved = {"Location": to[0]} if to else {}
        page = b"<!doctype html><title>Foreign</title><body>"
        return Response(302 if to else 200, {"Content-Type": "text/html", **moved}, page)

    with serving(respond) as url:
        yield urlsplit(url).port or 0


class Attack:
    """The attempts of a page, and checks that they had no effect on the stack."""

    def __init__(self, directory: Path) -> None:
        self.marker = directory / "a-page-was-here"
        self.queue_url = sqs("CreateQueue", {"QueueName": QUEUE})["QueueUrl"]
        api = {"name": QUEUE, "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action"}
        api_id = by_program("/v2/apis", service="apigateway", json=api)["apiId"]
        by_program(f"/v2/apis/{api_id}/stages", service="apigateway", json={"stageName": "s"})
        self.paths = ["/", "/jwks.json", "/_ministack/health", "/token", "/2018-06-01/runtime/invocation/next"]
        self.socket = f"/_aws/execute-api/{api_id}/s"
        self.paths += ["/stream", urlsplit(os.environ["BINDERY_URL"]).path + "/cards/v1/cards/1"]

    def by(self, page: Page, *bases: str) -> list[str]:
        """Runs the attack from the page, and returns what the page learns."""
        functions = {base: evil_function(self.marker) for base in bases}
        # A browser delays WebSockets after a dozen have failed, so only some are tried.
        sockets = [base + self.socket for base in bases if HOSTS[0] in base or base.endswith(f":{AWS.port}")]
        options = {"paths": self.paths, "functions": functions, "queueUrl": self.queue_url, "sockets": sockets}
        return page.evaluate(ATTACK, {"bases": bases, **options})

    def nothing_done(self, what: str) -> None:
        """Checks that no function was created or has run, and that the queue still exists."""
        functions = by_program("/2015-03-31/functions?MaxItems=9999", "GET")["Functions"]
        check(f"{what}: no function was created", "evil-" not in json.dumps(functions))
        check(f"{what}: no function has run", not self.marker.exists())
        queues = sqs("ListQueues", {"QueueNamePrefix": QUEUE}).get("QueueUrls")
        check(f"{what}: the queue still exists", queues == [self.queue_url])


def other_origins(browser: Browser, attack: Attack, ports: list[int]) -> None:
    """Checks that a page of another origin, even one on this machine, learns and changes nothing."""
    with foreign_server() as theirs:
        for host in (NAME, "localhost"):
            page = browser.new_page()
            page.goto(f"http://{host}:{theirs}/")
            for name in HOSTS:
                learned = attack.by(page, *(f"http://{name}:{port}" for port in ports))
                check(f"a page of {host} learns nothing from {name}", not learned or print(*learned, sep="\n"))
            attack.nothing_done(f"a page of {host}")
            page.close()
        delete = f"/?Action=DeleteQueue&Version=2012-11-05&QueueUrl={quote(attack.queue_url)}"
        for name in HOSTS:
            page = browser.new_page()
            # As if the URL were typed or linked in a mail: the browser reports that no page sent the request.
            page.goto(f"http://{NAME}:{theirs}/?to={quote(f'http://{name}:{AWS.port}{delete}')}")
            page.close()
        attack.nothing_done("a link in a mail")


def rebound(browser: Browser, attack: Attack, ports: list[int]) -> None:
    """Checks that a page after DNS rebinding, which has the server's own origin, only gets 403 responses."""
    for port in ports:
        page = browser.new_page()
        base = f"http://{NAME}:{port}"
        response = page.goto(base)
        check(f"port {port} refuses a foreign name", response and response.status == 403)
        check("and the page has that origin", page.evaluate("origin") == base)
        learned = attack.by(page, base)
        wrong = [what for what in learned if not what.endswith(": 403")]
        check("and its other requests are refused", learned and not wrong or print(*wrong, sep="\n"))
        page.close()
    attack.nothing_done("a page of a foreign name")


def refused_everywhere(ports: list[int]) -> None:
    """Checks that every port refuses the headers that a browser sends for a foreign page."""
    cases = [("Host", NAME), ("Host", "127.0.0.1.bindery.example"), ("Host", "0.0.0.0"), ("Host", "localhost.")]
    cases += [("Origin", "null"), ("Origin", f"http://{NAME}"), ("Origin", "http://127.0.0.1:1")]
    cases += [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")]
    for port in ports:
        for method in ("GET", "POST", "OPTIONS"):
            for name, value in cases:
                value = f"{value}:{port}" if name == "Host" else value
                response = requests.request(method, f"http://127.0.0.1:{port}/", headers={name: value}, timeout=10)
                if response.status_code != 403 or "Access-Control-Allow-Origin" in response.headers:
                    raise SystemExit(f"FAILED: {method} with {name}: {value} is not refused at port {port}: {response}")
    check(f"{len(cases)} headers of pages are refused at each of {len(ports)} ports", cases)


def programs_get_responses() -> None:
    """Checks requests by curl, by Node's fetch, and with the names that the emulator gives its services."""
    token = {"Authorization": f"Bearer {os.environ['BINDERY_TOKEN']}"}
    card = f"/cards/v1/cards/{os.environ['BINDERY_CARD']}"
    node = {"Sec-Fetch-Mode": "cors"}  # Node sends no other header of this kind.
    api = urlsplit(os.environ["BINDERY_URL"]).path.split("/")[3]
    of_the_api = {"Host": f"{api}.execute-api.localhost:{AWS.port}"}
    url = AWS.geturl()
    for what, address, headers in [
        ("the API", os.environ["BINDERY_URL"] + card, token),
        ("the API, by Node", os.environ["BINDERY_URL"] + card, token | node),
        ("the API, by its own name", f"{url}/$default{card}", token | of_the_api),
        ("the emulator, by the name localhost", f"http://localhost:{AWS.port}/_ministack/health", {}),
        ("the issuer", f"{SETTINGS.issuer_url}/jwks.json", {}),
        ("the console", CONSOLE, {}),
        ("the console, typed into a browser", CONSOLE, {"Sec-Fetch-Site": "none"}),
    ]:
        response = requests.get(address, headers=headers, timeout=10)
        check(f"a program gets a response from {what}", response.status_code == 200 or print(response.text))


def the_consoles_own_page_works() -> None:
    """Checks that the console's own page gets a token, and that its proxy reaches only the API."""
    asked = {"tenant": os.environ["BINDERY_TENANT"], "account": "1", "scope": "cards:read"}
    mine = requests.post(f"{CONSOLE}/token", json=asked, headers={"Origin": CONSOLE}, timeout=10)
    check("the console's page gets a token", mine.json()["token"].startswith("eyJ"))
    form = requests.post(f"{CONSOLE}/token", data=json.dumps(asked), headers={"Content-Type": "text/plain"}, timeout=10)
    check("a form gets no token", form.status_code == 415)
    port = SETTINGS.ports[2]
    with socket.create_connection(("127.0.0.1", port)) as raw:
        # HTTP clients normalize this path, so send it directly.
        raw.sendall(f"GET /proxy/../../../_ministack/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        check("the proxy reaches only the API", raw.recv(100).split()[1] in (b"400", b"404"))


def up_reports_a_used_port() -> None:
    """Checks that `up` does not mistake another server on its port for its own, whatever it responds."""
    with foreign_server() as port, tempfile.TemporaryDirectory() as directory:
        settings = Settings(Path(directory), port)
        for what, start in (("before it starts", processes.check_ports), ("when it starts", processes.start)):
            try:
                start(settings)
                reported = "nothing"
            except StackError as error:
                reported = str(error)
            processes.stop(settings)
            check(
                f"{what}, up reports: {reported}",
                reported.startswith(f"port {port} is in use: stop what listens there"),
            )


def main() -> None:
    """Runs all checks."""
    found = listening()
    check(f"the stack listens only on 127.0.0.1: {found}", {address for address, _ in found} == {"127.0.0.1"})
    ports = [port for _, port in found]
    check("its own three ports are among them", set(SETTINGS.ports) <= set(ports))
    programs_get_responses()
    the_consoles_own_page_works()
    up_reports_a_used_port()
    refused_everywhere(ports)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as directory:
        browser = playwright.chromium.launch(executable_path=os.environ["BINDERY_CHROMIUM"], args=FLAGS)
        attack = Attack(Path(directory))
        rebound(browser, attack, ports)
        other_origins(browser, attack, ports)
        browser.close()


main()
