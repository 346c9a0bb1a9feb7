"""What the process counts, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry a process; also the core's Meter."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "gateway_http_request_seconds",
            "Time to answer a request, by route and status",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._attempts = Histogram(
            "gateway_delivery_attempt_seconds",
            "Duration of attempts to send, by the identity's protocol and outcome",
            ["protocol", "outcome"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._possible_duplicates = Counter(
            "gateway_delivery_possible_duplicates",
            "Messages sent again although the attempt before, which was cut off, may have got through",
            registry=self._registry,
        )
        self._checks = Histogram(
            "gateway_check_seconds",
            "Duration of checks, of identities by their protocol and of domains as domain, and outcome",
            ["protocol", "outcome"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.checks_due = Gauge(
            "gateway_checks_due", "Checks that are due in the database, at most 10,000", registry=self._registry
        )
        self.checks_oldest = Gauge(
            "gateway_checks_oldest_due_seconds", "How long the oldest of them has waited", registry=self._registry
        )
        self.in_flight = Gauge(
            "gateway_http_requests_in_flight", "Requests being answered", registry=self._registry
        )
        self.connections = Gauge(
            "gateway_http_connections", "Connections of clients, idle ones too", registry=self._registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; ``route`` is the pattern, never a path with ids in it."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def attempt(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one attempt to send."""
        self._attempts.labels(protocol, outcome).observe(seconds)

    def possible_duplicate(self) -> None:
        """Count a message that may be sent a second time."""
        self._possible_duplicates.inc()

    def check(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one check of an identity or, as protocol domain, of a domain."""
        self._checks.labels(protocol, outcome).observe(seconds)

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)
