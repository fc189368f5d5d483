"""Turns a module with a handler into a Lambda runtime process, with AWS's own runtime (awslambdaric), as on Lambda."""

import os
import sys
from pathlib import Path

from awslambdaric.bootstrap import run
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient


def serve(file: str) -> None:
    """Serves the `handler` of this file, which runs as the main module, until the runtime ends."""
    name = Path(file).stem
    # Otherwise the runtime would import the module a second time.
    sys.modules[name] = sys.modules["__main__"]
    run(f"{name}.handler", LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"]))
