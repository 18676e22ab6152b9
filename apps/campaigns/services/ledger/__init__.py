"""Sending's writes to the ledger of deliveries: each is one conditional statement over many rows.

queued → handing_off → sent | deferred | failed | unknown. Rows are claimed by locks, which end
with their process; those being handed over carry its token and a lease, and the sweeper gives up
what nobody renews.

Rows are named by their keys wherever they are known: the statistics of a ledger that has just
grown are out of date, and the planner would walk a whole campaign to find fifty rows of it.
"""
