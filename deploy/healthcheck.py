"""The health check of the images: exits with 0 where the service in this container is ready.

It prints the service's response, which ``docker inspect`` shows. It runs every few seconds, so it
imports little.
"""

import os
import socket
import sys

with socket.create_connection(("127.0.0.1", int(os.environ["TRIMTAB_PORT"])), timeout=2) as server:
    server.sendall(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    head, _, body = server.makefile("rb").read().partition(b"\r\n\r\n")
sys.stdout.write(body.decode(errors="replace"))
sys.exit(b" 200 " not in head.partition(b"\r\n")[0])
