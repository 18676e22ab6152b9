#!/bin/sh
# Finds Python and the checkout for start_celery_workers.sh and start_all_workers.sh.
set -eu
cd "$(dirname "$0")/.."
if [ -x .venv/bin/python ]; then
    python=.venv/bin/python
else
    python=$(command -v python || command -v python3) || {
        echo "No Python found: run \`make up\` once, which sets this checkout up." >&2
        exit 1
    }
fi
"$python" -c 'import celery, psutil' 2>/dev/null || {
    echo "VashSender's packages are missing from $python: run \`make setup\`." >&2
    exit 1
}
exec "$python" -m core.local.workers "$@"
