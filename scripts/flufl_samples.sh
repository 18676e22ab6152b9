#!/bin/sh
# The test messages of the installed flufl.bounce, from its source distribution.
set -eu
cd "$(dirname "$0")/.."
version=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("flufl.bounce"))')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.venv/bin/python -m pip download --quiet --no-deps --no-binary :all: -d "$folder" "flufl.bounce==$version"
tar -xzf "$folder"/*.tar.gz -C "$folder"
rm -rf .local/flufl_bounce_tests
mkdir -p .local
cp -R "$folder"/flufl_bounce-*/tests .local/flufl_bounce_tests
echo "in .local/flufl_bounce_tests"
