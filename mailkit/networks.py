"""Which addresses are the public Internet's."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

# Global by the registries' letter, but packets to them end wherever the IPv4 address inside
# points, a private one too: IPv4-compatible and mapped (RFC 4291 section 2.5.5), NAT64
# (RFC 6052, RFC 8215), 6to4 and its relays (RFC 3056, RFC 3068). Site-local (RFC 3879) and
# segment routing (RFC 9602) addresses stay within a network.
_NOT_THE_INTERNET = tuple(
    ip_network(net)
    for net in (
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"),
        *("192.88.99.0/24", "192.0.0.0/24", "fec0::/10", "5f00::/16", "3fff::/20"),
    )
)


def is_public_address(address: str) -> bool:
    """Whether mail may go to an address that somebody else chose.

    Anyone's DNS can name loopback or a private network. Raises ValueError for what is no IP
    address.
    """
    ip = ip_address(address.partition("%")[0])
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in _NOT_THE_INTERNET)
