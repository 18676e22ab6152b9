"""Campaigns: their content, their launch, the ledger and the sending."""
