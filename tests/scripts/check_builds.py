#!/usr/bin/env python3
"""Checks that nothing compiles twice: that whatever is built has its dependencies with the same features.

Cargo gives a dependency the features that the selected packages want, and compiles it once for each set of them. Here
every package by itself must want what the whole workspace wants; shared/workspace-hack adds what is missing. Then the
files are compared that `./infra/local/up` and the tests really use; both must have been built.
"""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Test dependencies count in the workspace, whose tests are built; by itself a package is built without.
TREE = ["cargo", "tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"]
# What `up` builds, what the operator's tool adds, and what the tests add, as ./tests/run has it.
BUILDS = (
    ["build", "--package", "local-runner"],
    ["build", "--package", "bindery"],
    ["test", "--no-run", "--workspace", "--exclude", "bench", "--lib", "--bin", "bindery", "--test", "*"],
)


def cargo(*arguments: str) -> str:
    """What cargo prints."""
    return subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def features(*selection: str) -> dict[str, set[str]]:
    """The features of each dependency; several sets, if it is built for this machine's build scripts too."""
    found: dict[str, set[str]] = {}
    for line in cargo(*TREE, *selection).splitlines():
        package, _, wanted = line.partition("|")
        # What is ours has its path behind the version.
        if "(/" not in package and "|" in line:
            found.setdefault(" ".join(package.split()[:2]), set()).add(wanted.removesuffix(" (*)"))
    return found


def selections() -> list[list[str]]:
    """What is built: packages by themselves, tests as tests; and what a plain `cargo test` builds."""
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
    """The files of each dependency in this build."""
    found: dict[str, set[str]] = {}
    for line in cargo("cargo", *build, "--locked", "--quiet", "--message-format=json").splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["package_id"].startswith("registry+"):
            # Of a build script, the same may be there twice: for this machine and for the target.
            found.setdefault(message["package_id"], set()).update(message["filenames"])
    return found


def main() -> None:
    """Both checks."""
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
