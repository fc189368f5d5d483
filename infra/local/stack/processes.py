"""The stack's servers, which are started in the background and stopped by process ID.

`up` binds their ports itself, and passes the sockets to them. So while they run, no other program listens there.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from .settings import DEFAULT_PORT, REGION, Settings, StackError

# The name of each server, and a part of its command.
SERVERS = {"aws": "stack/emulator.py", "issuer": "serve-issuer", "console": "-m console"}

START_SECONDS = 60
STOP_SECONDS = 10


def check_ports(settings: Settings) -> None:
    """Checks that each port is free or in use by this stack, before any server is started."""
    if not any(_running(settings, name) for name in SERVERS):
        (settings.directory / "ports").unlink(missing_ok=True)
    ports = dict(zip(SERVERS, settings.ports, strict=True))
    if settings.first_port not in (0, DEFAULT_PORT, ports["aws"]):
        print(f"The stack already runs on port {ports['aws']}. BINDERY_PORT takes effect after ./infra/local/down.")
    for name, port in ports.items():
        if not _running(settings, name) and _is_taken(port):
            raise _in_use(settings, port)


def start(settings: Settings) -> None:
    """Starts the servers that do not run yet, and waits until they respond."""
    aws_port, issuer_port, _ = settings.ports
    local = Path(__file__).parents[1]
    temporary = settings.directory / "tmp"
    for directory in (settings.logs, temporary):
        directory.mkdir(parents=True, exist_ok=True)
    # Only the variables that the emulator needs, because it passes its environment on to the functions.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(local),
        "GATEWAY_PORT": str(aws_port),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "LAMBDA_EXECUTOR": "local",
        # Turns off servers that Bindery does not need, and that would listen on all interfaces.
        "IOT_MTLS_ENABLED": "false",
        "SFTP_ENABLED": "false",
        **settings.aws_environment(),
    }
    emulator = [sys.executable, "-P", str(local / "stack" / "emulator.py")]
    _start(settings, "aws", emulator, environment, aws_port, "/_ministack/health")
    issuer = [sys.executable, "-m", "stack", "serve-issuer"]
    environment = {**os.environ, "BINDERY_LOCAL_DIR": str(settings.directory)}
    _start(settings, "issuer", issuer, environment, issuer_port, "/.well-known/openid-configuration")


def start_console(settings: Settings, variables: dict[str, str]) -> None:
    """Starts the console for the current deployment. A running one is replaced, as it may be out of date."""
    _stop(settings, "console")
    environment = {**os.environ, **variables, "BINDERY_LOCAL_DIR": str(settings.directory)}
    _start(settings, "console", [sys.executable, "-m", "console"], environment, settings.ports[2], "/")


def stop(settings: Settings) -> None:
    """Stops the servers that run, and prints the result."""
    stopped = [name for name in SERVERS if _stop(settings, name)]
    (settings.directory / "ports").unlink(missing_ok=True)
    print("The local stack has stopped." if stopped else "The local stack is not running.")


def _is_taken(*ports: int) -> bool:
    try:
        for port in ports:
            _take(port).close()
    except OSError:
        return True
    return False


def _take(port: int) -> socket.socket:
    """Listens on the port at once, so that no other program can take it."""
    taken = socket.socket()
    try:
        # Works even while connections of a stopped server are still closing.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
    except OSError:
        taken.close()
        raise
    return taken


def _in_use(settings: Settings, port: int) -> StackError:
    (settings.directory / "ports").unlink(missing_ok=True)
    candidates = (first for first in range(port + 10, 65000, 10) if not _is_taken(first, first + 1, first + 2))
    other = next(candidates, 0)  # 0: any free ones
    return StackError(
        f"port {port} is in use: stop what listens there, or choose others: BINDERY_PORT={other} ./infra/local/up"
    )


def _pid_file(settings: Settings, name: str) -> Path:
    return settings.directory / f"{name}.pid"


def _running(settings: Settings, name: str) -> int | None:
    """Returns the process ID, if the process lives and is this server: the ID may have been reused."""
    file = _pid_file(settings, name)
    if not file.exists():
        return None
    pid = int(file.read_text())
    # ps must print the whole command, however narrow the terminal is.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    listing = subprocess.run(command, env=environment, capture_output=True, text=True)
    return pid if SERVERS[name] in listing.stdout else None


def _start(
    settings: Settings, name: str, command: list[str], environment: dict[str, str], port: int, health: str
) -> None:
    if _running(settings, name):
        return
    log = settings.logs / f"{name}.log"
    try:
        taken = _take(port)
    except OSError as error:
        raise _in_use(settings, port) from error
    with taken, log.open("ab") as output:
        process = subprocess.Popen(
            [*command, str(taken.fileno())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[taken.fileno()],
            start_new_session=True,
        )
    _pid_file(settings, name).write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    _stop(settings, name)
    raise StackError(f"the {name} server did not start: see {log}")


def _stop(settings: Settings, name: str) -> bool:
    pid = _running(settings, name)
    if pid:
        # Signals the process group, because the functions are children of the emulator.
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and _alive(pid):
            time.sleep(0.1)
        _signal(pid, signal.SIGKILL)
    _pid_file(settings, name).unlink(missing_ok=True)
    return pid is not None


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def _alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True
