"""Installs the stack's tools and builds the functions, both at once, and says how far it is.

It has the standard library alone, for it runs before anything is installed.
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
# How long the last build from nothing took here.
LAST = ROOT / "target" / "local" / "build-seconds"
# A build of so many crates is one from nothing.
MANY_CRATES = 100
COMMAND = ["cargo", "build", "--locked", "--package", "local-runner"]
# How often the progress is said where nobody watches it move.
QUIET_SECONDS = 15


class Progress:
    """How far the two jobs are: one line, which moves on a terminal."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.crates = ""
        self.waiting_for_tools = True
        self.said_at = self.started
        self.line_length = 0
        self.moves = sys.stdout.isatty()

    def seconds(self) -> int:
        """Since the beginning."""
        return round(time.monotonic() - self.started)

    def say(self, expected: str) -> None:
        """Shows where things stand, if it is time to."""
        now = time.monotonic()
        if now - self.said_at < (0.2 if self.moves else QUIET_SECONDS):
            return
        self.said_at = now
        tools = ", installing the tools" if self.waiting_for_tools else ""
        line = f"    {self.crates or 'starting'}{tools}: {self.seconds()} s{expected}"
        if self.moves:
            print("\r" + line.ljust(self.line_length), end="", flush=True)
            self.line_length = len(line)
        else:
            print(line, flush=True)

    def clear(self) -> None:
        """Leaves the line to others."""
        if self.moves and self.line_length:
            print("\r" + " " * self.line_length, end="\r", flush=True)


def expectation() -> str:
    """What to compare the time with."""
    return f" (from nothing, it took {LAST.read_text()} s)" if LAST.exists() else " (the first time: some minutes)"


def install_tools(progress: Progress, failures: list[str]) -> None:
    """Runs ./tools; its words are in a log."""
    with (LOGS / "tools.log").open("w") as log:
        command = [str(ROOT / "infra" / "local" / "tools")]
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode:
            failures.append(f"could not install the tools: see {log.name}")
    progress.waiting_for_tools = False


def build(progress: Progress, expected: str) -> int:
    """Runs cargo; says what it has to say, and how many crates it has built. Returns its exit code."""
    environment = {**os.environ, "CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100"}
    environment["CARGO_TERM_COLOR"] = "never"
    cargo = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    assert cargo.stderr
    crates = 0
    text = b""
    with (LOGS / "build.log").open("w") as log:
        while chunk := os.read(cargo.stderr.fileno(), 4096):
            # Progress ends with a carriage return, everything else with a line feed.
            *lines, text = re.split(rb"[\r\n]", text + chunk)
            for line in (part.decode(errors="replace").strip() for part in lines):
                if counts := re.match(r"Building \[.*\] (\d+)/(\d+)", line):
                    progress.crates = f"{counts[1]} of {counts[2]} crates are built"
                elif line:
                    log.write(line + "\n")
                    crates += line.startswith("Compiling ")
            progress.say(expected)
    if cargo.wait() == 0 and crates >= MANY_CRATES:
        LAST.write_text(str(progress.seconds()))
    return cargo.returncode


def main() -> None:
    """Does both."""
    # What must be free is free, before minutes go by.
    processes.check_ports(Settings.from_environment())
    LOGS.mkdir(parents=True, exist_ok=True)
    print("==> Building the functions and installing the tools", flush=True)
    progress, failures, expected = Progress(), list[str](), expectation()
    tools = threading.Thread(target=install_tools, args=(progress, failures))
    tools.start()
    code = build(progress, expected)
    while tools.is_alive():
        progress.say(expected)
        tools.join(0.2)
    progress.clear()
    if code:
        print((LOGS / "build.log").read_text()[-4000:], file=sys.stderr)
        failures.append("the build failed: see cargo's message above")
    if failures:
        raise StackError("; ".join(failures))
    print(f"    done in {progress.seconds()} s", flush=True)


try:
    main()
except StackError as error:
    sys.exit(f"up: {error}")
except KeyboardInterrupt:
    sys.exit(130)
