"""Networks between devices, and how long their collectives take. Entries: `NETWORKS`, `Network`.

A collective takes latency + bytes / bandwidth, in the way that is fastest for its size; these are the ways that NCCL
chooses among, with the numbers by which it chooses (`tuning.cc`, github.com/NVIDIA/nccl).
"""

import math
from typing import NamedTuple

GB = 1e9


class Way(NamedTuple):
    """A way to send: an algorithm with a protocol. Latencies in microseconds."""

    algorithm: str
    """"ring" or "tree"."""
    start: float
    within: float
    """Latency of a hop inside a host."""
    across: float
    """Latency of a hop between hosts."""
    share: float
    """Share of the bandwidth that carries data."""


NCCL = (
    Way("ring", 6.6, 0.6, 2.7, 0.5),
    Way("ring", 14.0, 1.9, 4.0, 0.92),
    Way("ring", 8.4, 3.4, 14.0, 1.0),
    Way("tree", 6.8, 0.6, 5.0, 1 / 3.8),
    Way("tree", 14.0, 1.25, 8.5, 0.92),
    Way("tree", 8.4, 4.0, 14.0, 0.92),
)
"""Protocols LL, LL128 and Simple of each algorithm."""


class Network(NamedTuple):
    """Hosts with equal devices. Bandwidths in GB/s in one direction."""

    name: str
    host_devices: int
    within: float
    """Bandwidth of a device to the others of its host."""
    across: float
    """Bandwidth of a whole host to the others. A ring enters and leaves a host once for each of its ports, so all the
    ports of a host serve one ring of each device's bytes."""
    ways: tuple[Way, ...]

    def hosts(self, devices: int) -> int:
        """Count the hosts that hold so many devices."""
        return math.ceil(devices / self.host_devices)

    def all_reduce_seconds(self, size: int, devices: int) -> float:
        """Return the time to sum `size` bytes over the devices: 2 (n - 1) / n of them pass each link of a ring."""
        return min(self._seconds(way, 2, size, devices) for way in self.ways)

    def all_gather_seconds(self, size: int, devices: int) -> float:
        """Return the time until every device has `size` bytes, of which each brings an equal part: (n - 1) / n."""
        return min(self._seconds(way, 1, size, devices) for way in self.ways if way.algorithm == "ring")

    def all_to_all_seconds(self, size: int, devices: int) -> float:
        """Return the time until every device has got `size` bytes, an equal part of them from each device.

        Here a host's ports carry what all of its devices get from other hosts. Each device talks to every other: the
        latency is that of a ring's hops.
        """
        if devices == 1:
            return 0.0
        here = min(devices, self.host_devices)
        inside = size * (here - 1) / devices / (self.within * GB)
        outside = size * here * (devices - here) / devices / (self.across * GB)
        rings = [way for way in self.ways if way.algorithm == "ring"]
        return min(self._seconds(way, 1, 0, devices) for way in rings) + max(inside, outside)

    def _seconds(self, way: Way, rounds: int, size: int, devices: int) -> float:
        """Return the time of `rounds` passes through a ring or a tree."""
        if devices == 1:
            return 0.0
        hosts = self.hosts(devices)
        bandwidth = self.within if hosts == 1 else min(self.within, self.across)
        if way.algorithm == "ring":
            across = hosts - 1 if hosts > 1 else 0
            hops = (devices - 1 - across) * way.within + across * way.across
        else:
            here = min(devices, self.host_devices)
            hops = (here - 1) * way.within + math.floor(math.log2(hosts)) * way.across
        sent = rounds * size * (devices - 1) / devices
        return (way.start + rounds * hops) * 1e-6 + sent / (way.share * bandwidth * GB)


NETWORKS = (
    # NVLink: 360 GB/s, what NCCL expects on Hopper, of 450 in the data sheet. A DGX H100 has eight ports of 400 Gb/s.
    Network("NVLink, 8 x 400 Gb/s InfiniBand a host", 8, 360, 8 * 400 / 8, NCCL),
    Network("NVLink, 100 Gb/s Ethernet a host", 8, 360, 100 / 8, NCCL),
    # TPU v5p: six links of 90 GB/s in each direction; eight chips, 2x2x2, use three of them. A microsecond a hop. What
    # counts as a host here is 2x2x2 chips, and a ring of the torus crosses all six links.
    Network("TPU v5p, its torus", 8, 3 * 90, 6 * 90, (Way("ring", 1, 1, 1, 1.0), Way("tree", 1, 1, 1, 1.0))),
    # TCP: assumed.
    Network("10 Gb/s Ethernet a host, one device each", 1, 10 / 8, 10 / 8, (Way("ring", 50, 50, 50, 1.0),)),
)
