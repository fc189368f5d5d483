#!/usr/bin/env python3
"""Checks that no dependency compiles twice, that is, with different features in different builds.

Cargo enables the features of a dependency that the selected packages request, and compiles it once for each set of
features. So every package must request the same features as the whole workspace; shared/workspace-hack adds those that
are missing. The script then compares the files that `./infra/local/up` and the tests use. Both must have been built.
"""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The workspace is built with test dependencies, because its tests are built. A single package is built without them.
TREE = ["cargo", "tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"]
# The builds of `up`, of the operator's tool, and of the tests, as in ./tests/run.
BUILDS = (
    ["build", "--package", "local-runner"],
    ["build", "--package", "bindery"],
    ["test", "--no-run", "--workspace", "--exclude", "bench", "--lib", "--bin", "bindery", "--test", "*"],
)


def cargo(*arguments: str) -> str:
    """Runs cargo, and returns its output."""
    return subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def features(*selection: str) -> dict[str, set[str]]:
    """Returns each dependency's sets of features. A dependency of build scripts may have several sets."""
    found: dict[str, set[str]] = {}
    for line in cargo(*TREE, *selection).splitlines():
        package, _, wanted = line.partition("|")
        # Our own packages have a path after the version.
        if "(/" not in package and "|" in line:
            found.setdefault(" ".join(package.split()[:2]), set()).add(wanted.removesuffix(" (*)"))
    return found


def selections() -> list[list[str]]:
    """Returns the selections that are built: each package, tests with their dependencies, and a plain `cargo test`."""
    metadata = json.loads(cargo("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"))
    packages = [(package["name"], Path(package["manifest_path"])) for package in metadata["packages"]]
    found: list[list[str]] = [[]]
    for name, manifest in packages:
        match manifest.parts[len(ROOT.parts)]:
            case "functions" | "cli" | "infra":
                found.append(["--package", name, "--edges", "no-dev"])
            case "tests":
                found.append(["--package", name])
    return found


def libraries(*build: str) -> dict[str, set[str]]:
    """Returns the files of each dependency in this build."""
    found: dict[str, set[str]] = {}
    for line in cargo("cargo", *build, "--locked", "--quiet", "--message-format=json").splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["package_id"].startswith("registry+"):
            # A build script's dependency may be listed twice: for this machine and for the target.
            found.setdefault(message["package_id"], set()).update(message["filenames"])
    return found


def main() -> None:
    """Runs both checks."""
    wrong = []
    whole = features("--workspace")
    for selection in selections():
        for package, wanted in features(*selection).items():
            for one in wanted - whole[package]:
                missing = set(",".join(whole[package]).split(",")) - set(one.split(","))
                wrong.append(f"cargo tree {' '.join(selection)}: {package} lacks {', '.join(sorted(missing))}")
    built = {" ".join(build): libraries(*build) for build in BUILDS}
    *some, everything = built
    for name in some:
        for package, files in built[name].items():
            if not files <= built[everything][package]:
                wrong.append(f"cargo {name}: {package} is compiled again for cargo {everything}")
    if wrong:
        raise SystemExit("\n".join([*wrong, "Add the features to shared/workspace-hack/Cargo.toml."]))
    count = len(built[everything])
    print(f"ok: {len(selections())} ways to build, {count} dependencies, each compiled in one way")


main()
