#!/usr/bin/env python3
"""Runs cargo-mutants on the rules, on the readers and writers of orders, and on the reading of requests.

Only unit and property tests run. The modules are copied into a small workspace without the AWS SDK, so that a mutant
builds in seconds instead of half a minute. The parts of other modules that they use are replaced below. Arguments go to
cargo-mutants:

    tests/scripts/mutants.py                      all mutants (an hour and a half on two cores)
    tests/scripts/mutants.py -f '**/person.rs'    one file
    tests/scripts/mutants.py --in-diff FILE       the changes of a diff

Needs cargo-mutants: cargo install --locked cargo-mutants.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "target" / "mutants"

# The files to copy into each package, and the crates that it uses.
PACKAGES = {
    "shared": (["domain", "number.rs"], "serde serde_json thiserror time uuid"),
    "requests": (
        [f"http/{name}" for name in ("body", "body.rs", "claims.rs", "gateway_request.rs", "idempotency.rs")]
        + ["http/identity.rs", "http/page.rs", "http/problem.rs"],
        "shared base64 lambda_http ring serde serde_json sfv thiserror uuid",
    ),
    "cancel-orders": (["wire", "entry.rs", "entry_status.rs"], "shared serde serde_json thiserror uuid"),
}
SOURCES = {"shared": "shared/src", "requests": "shared/src", "cancel-orders": "functions/cancel-orders/src"}
FOR_TESTS = "fastrand proptest rstest"

# Replacements for the other modules.
REPLACED = {
    "shared/src/lib.rs": "pub mod domain;\npub mod number;\n",
    "cancel-orders/src/lib.rs": "mod entry;\npub mod entry_status;\npub mod wire;\n",
    "requests/src/lib.rs": """
pub(crate) const BYTE_ORDER_MARK: &str = "\\u{feff}";
pub mod http;
pub use shared::{domain, number};
pub mod queue {
    #[derive(Debug, thiserror::Error)]
    #[error("not sent")]
    pub struct SendError;
}
pub mod store {
    #[derive(Debug, thiserror::Error)]
    #[error("not stored")]
    pub enum StoreError {
        Conflict {},
        Retry {},
        Unexpected {},
        Broken {},
    }
}
""",
    "requests/src/http/mod.rs": """
mod body;
mod claims;
mod gateway_request;
mod idempotency;
mod identity;
mod page;
mod problem;
mod token {
    use super::claims::Claims;
    use super::problem::Problem;
    pub struct Verifier;
    impl Verifier {
        pub(super) async fn verify(&self, _: &str) -> Result<Claims, Problem> {
            Err(Problem::unauthorized())
        }
    }
}
pub use gateway_request::ApiGatewayRequest;
use lambda_http::RequestExt;
use problem::Invalid;
#[derive(Debug)]
pub struct RequestContext {
    request: lambda_http::Request,
}
impl RequestContext {
    #[cfg(test)]
    fn of(request: lambda_http::Request) -> Self {
        Self { request }
    }
    QUERY
}
""",
}


def manifest(package: str, crates: str) -> str:
    """Returns the manifest of a package that uses these crates."""
    head = f'[package]\nname = "{package}"\nversion = "0.1.0"\nedition = "2024"\n'
    used = "\n".join(f"{name}.workspace = true" for name in crates.split())
    tests = "\n".join(f"{name}.workspace = true" for name in FOR_TESTS.split())
    return f"{head}\n[dependencies]\n{used}\n\n[dev-dependencies]\n{tests}\n"


def copy() -> None:
    """Creates the small workspace."""
    for package, (names, crates) in PACKAGES.items():
        shutil.rmtree(SCRATCH / package, ignore_errors=True)
        for name in names:
            source, target = ROOT / SOURCES[package] / name, SCRATCH / package / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        (SCRATCH / package / "Cargo.toml").write_text(manifest(package, crates))
    endpoint = (ROOT / "shared/src/http/mod.rs").read_text()
    query = re.search(r"pub fn query<.*?\n    }\n", endpoint, re.DOTALL).group()
    for path, text in REPLACED.items():
        (SCRATCH / path).write_text(text.replace("QUERY", query))
    dependencies = dependencies_of((ROOT / "Cargo.toml").read_text())
    members = ", ".join(f'"{package}"' for package in PACKAGES)
    head = f'[workspace]\nresolver = "3"\nmembers = [{members}]\n'
    # Debug information is not needed.
    (SCRATCH / "Cargo.toml").write_text(f"{head}\n{dependencies}\n\n[profile.dev]\ndebug = false\n")
    if not (SCRATCH / "Cargo.lock").exists():
        shutil.copyfile(ROOT / "Cargo.lock", SCRATCH / "Cargo.lock")


def dependencies_of(manifest: str) -> str:
    """Returns the workspace's dependencies. Of its own packages, only `shared` is included."""
    section = re.search(r"\[workspace.dependencies\].*?(?=\n\[)", manifest, re.DOTALL).group()
    lines = section.split("\n")
    return "\n".join(line for line in lines if "path = " not in line or line.startswith("shared "))


def main() -> int:
    """Runs cargo-mutants in the small workspace."""
    copy()
    command = ["cargo", "mutants", "--workspace", "--in-place", "--output", str(SCRATCH)]
    command += ["--config", str(ROOT / ".cargo/mutants.toml"), *sys.argv[1:]]
    return subprocess.run(command, cwd=SCRATCH, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
