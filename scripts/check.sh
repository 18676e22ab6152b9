#!/bin/sh
# `make check`: every step runs, and the exit code is 0 only if all of them passed.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
# No step needs a server; these addresses keep the settings from looking for one.
export SECRET_KEY="${SECRET_KEY:-check}"
export DATABASE_URL="${DATABASE_URL:-postgresql://check@127.0.0.1:1/check}"
export REDIS_URL="${REDIS_URL:-redis://127.0.0.1:1/0}"
failed=""

step() {
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed="$failed, $name"
}

migrations_complete() {
    # Without a database Django warns and compares the models with the migration files alone.
    python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
}

step "ruff check" ruff check .
step "ruff format" ruff format --check .
step "mypy" mypy .
step "import layers" lint-imports --no-logo
step "djlint" djlint templates --lint --quiet
step "migrations" migrations_complete
step "translations" python manage.py messages --check

if [ -n "$failed" ]; then
    printf 'failed: %s\n' "${failed#, }" >&2
    exit 1
fi
echo "all checks passed"
