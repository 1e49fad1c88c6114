"""The resmgr service: tokens of pools, granted by leases in Redis."""
