# Runs a script's steps, and prints how long each took. Also writes the times to BINDERY_STEPS. To be sourced.
fail() { printf '%s: %s\n' "$(basename "$0")" "$1" >&2; exit 1; }
step() { # name, command...
    echo "==> $1"
    local started=$SECONDS
    "${@:2}"
    echo "==> $1: $((SECONDS - started)) s"
    printf '%s\t%s\n' "$((SECONDS - started))" "$1" >>"${BINDERY_STEPS:-/dev/null}"
}
