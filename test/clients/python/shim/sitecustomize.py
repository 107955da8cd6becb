"""Stands in for a resolver that leads every name below localhost to the loopback.

systemd-resolved, macOS and browsers do that by themselves (RFC 6761); the C
library without them may not.
"""

import socket

_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, *args, **kwargs):
    if isinstance(host, str) and host.lower().rstrip(".").endswith(".localhost"):
        host = "127.0.0.1"
    return _getaddrinfo(host, *args, **kwargs)


socket.getaddrinfo = getaddrinfo
