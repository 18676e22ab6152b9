#!/bin/sh
# Everything but the web server in the background: the four worker pools, beat, the writer of opens
# and clicks, the receiver of mail to us. start | stop | restart | status. Sizes as in start_celery_workers.sh.
exec "$(dirname "$0")/scripts/workers.sh" all "$@"
