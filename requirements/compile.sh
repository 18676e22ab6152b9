#!/bin/sh
# Recompiles every requirements file from pyproject.toml: `make requirements`.
set -eu
cd "$(dirname "$0")/.."
compile() {
    "${UV:-.venv/bin/uv}" pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-header --no-annotate "$@"
}
compile pyproject.toml -o requirements.txt
compile pyproject.toml --group local -c requirements.txt -o requirements/local.txt
compile pyproject.toml --group local --group dev -c requirements/local.txt -o requirements/dev.txt
compile --group node -o requirements/node.txt
compile --group uv -c requirements/local.txt -o requirements/uv.txt
