"""Installs the stack's tools and builds the functions at the same time, and prints the progress.

It uses only the standard library, because it runs before any package is installed.
"""

import os
import re
import subprocess
import sys
import threading
import time

from . import processes
from .settings import ROOT, Settings, StackError

LOGS = ROOT / "target" / "local" / "logs"
# The file with the duration of the last full build on this machine.
LAST = ROOT / "target" / "local" / "build-seconds"
# A build of at least this many crates is a full build.
MANY_CRATES = 100
COMMAND = ["cargo", "build", "--locked", "--package", "local-runner"]
# Seconds between two progress lines if the output is not a terminal.
QUIET_SECONDS = 15


class Progress:
    """The progress of both jobs. On a terminal it is a single line that is updated in place."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.crates = ""
        self.waiting_for_tools = True
        self.reported_at = self.started
        self.line_length = 0
        self.is_terminal = sys.stdout.isatty()

    def seconds(self) -> int:
        """Returns the seconds since the start."""
        return round(time.monotonic() - self.started)

    def report(self, expected: str) -> None:
        """Prints the progress, if enough time has passed since the last report."""
        now = time.monotonic()
        if now - self.reported_at < (0.2 if self.is_terminal else QUIET_SECONDS):
            return
        self.reported_at = now
        tools = ", installing the tools" if self.waiting_for_tools else ""
        line = f"    {self.crates or 'starting'}{tools}: {self.seconds()} s{expected}"
        if self.is_terminal:
            print("\r" + line.ljust(self.line_length), end="", flush=True)
            self.line_length = len(line)
        else:
            print(line, flush=True)

    def clear(self) -> None:
        """Clears the progress line."""
        if self.is_terminal and self.line_length:
            print("\r" + " " * self.line_length, end="\r", flush=True)


def expectation() -> str:
    """Returns the expected duration, in words."""
    return f" (a full build took {LAST.read_text()} s)" if LAST.exists() else " (the first build takes some minutes)"


def install_tools(progress: Progress, failures: list[str]) -> None:
    """Runs ./tools, with its output in a log."""
    with (LOGS / "tools.log").open("w") as log:
        command = [str(ROOT / "infra" / "local" / "tools")]
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode:
            failures.append(f"could not install the tools: see {log.name}")
    progress.waiting_for_tools = False


def build(progress: Progress, expected: str) -> int:
    """Runs cargo, logs its output, and reports the number of built crates. Returns cargo's exit code."""
    environment = {**os.environ, "CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100"}
    environment["CARGO_TERM_COLOR"] = "never"
    cargo = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    assert cargo.stderr
    crates = 0
    text = b""
    with (LOGS / "build.log").open("w") as log:
        while chunk := os.read(cargo.stderr.fileno(), 4096):
            # Progress lines end with a carriage return, all others with a line feed.
            *lines, text = re.split(rb"[\r\n]", text + chunk)
            for line in (part.decode(errors="replace").strip() for part in lines):
                if counts := re.match(r"Building \[.*\] (\d+)/(\d+)", line):
                    progress.crates = f"{counts[1]} of {counts[2]} crates are built"
                elif line:
                    log.write(line + "\n")
                    crates += line.startswith("Compiling ")
            progress.report(expected)
    if cargo.wait() == 0 and crates >= MANY_CRATES:
        LAST.write_text(str(progress.seconds()))
    return cargo.returncode


def main() -> None:
    """Runs both jobs."""
    # Checked first, because the build takes minutes.
    processes.check_ports(Settings.from_environment())
    LOGS.mkdir(parents=True, exist_ok=True)
    print("==> Building the functions and installing the tools", flush=True)
    progress, failures, expected = Progress(), list[str](), expectation()
    tools = threading.Thread(target=install_tools, args=(progress, failures))
    tools.start()
    code = build(progress, expected)
    while tools.is_alive():
        progress.report(expected)
        tools.join(0.2)
    progress.clear()
    if code:
        print((LOGS / "build.log").read_text()[-4000:], file=sys.stderr)
        failures.append("the build failed: see cargo's output above")
    if failures:
        raise StackError("; ".join(failures))
    print(f"    done in {progress.seconds()} s", flush=True)


try:
    main()
except StackError as error:
    sys.exit(f"up: {error}")
except KeyboardInterrupt:
    sys.exit(130)
