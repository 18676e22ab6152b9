"""Speaking SMTP: outcomes, a pipelining client and a pool of kept connections."""
