"""Speaking SMTP: outcomes, sessions, pipelining connections and a pool that keeps them."""
