"""Every message on NATS outside resmgr: its body, its subject, its stream."""
