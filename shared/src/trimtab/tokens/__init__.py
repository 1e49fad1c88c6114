"""Tokens of pools: resmgr's protocol, the client of it, and the leases that a holder has."""
