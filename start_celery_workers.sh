#!/bin/sh
# The four worker pools in the background: start | stop | restart | status.
# Sizes: IMPORT_CONCURRENCY, EMAIL_CONCURRENCY, CAMPAIGNS_CONCURRENCY, DEFAULT_CONCURRENCY.
exec "$(dirname "$0")/scripts/workers.sh" pools "$@"
