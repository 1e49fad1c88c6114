"""Tokens of pools: the protocol of resmgr, its client, and the leases that a process holds."""
