"""`trimtab up`: NATS, Valkey and the four services as processes of one directory, without root.

No service imports this package; each receives its configuration through its environment.
"""
