"""`trimtab up`: NATS, Valkey and the four services as processes of one directory, without root.

Nothing here is imported by a service; the services know only their settings.
"""
