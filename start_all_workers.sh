#!/bin/sh
# Everything but the web server in the background, the four worker pools and beat:
# start | stop | restart | status. Sizes as in start_celery_workers.sh.
exec "$(dirname "$0")/scripts/workers.sh" all "$@"
