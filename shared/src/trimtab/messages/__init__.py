"""The messages on NATS outside resmgr: their bodies, headers, subjects and streams."""
