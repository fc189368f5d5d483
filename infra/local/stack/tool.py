"""The operator's tool, run on this stack."""

import os
import subprocess

from .settings import StackError, binary


def run(variables: dict[str, str], *arguments: str, answer: str = "") -> str:
    """What `bindery` prints with these arguments, and this on its standard input."""
    command = [str(binary("bindery")), *arguments]
    done = subprocess.run(command, env={**os.environ, **variables}, input=answer, capture_output=True, text=True)
    if done.returncode:
        raise StackError(done.stderr.strip())
    return done.stdout.strip()
