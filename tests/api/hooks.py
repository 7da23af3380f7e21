"""Texts of which a regular expression cannot say all, for schemathesis."""

import schemathesis
from hypothesis import strategies as st

names = st.sampled_from(["example.org", "*.example.org", "a.b.example.net", "git.example.com."])
addresses = st.sampled_from(["192.0.2.7", "192.0.2.0/24", "[2001:db8::/32]", "[2001:db8::1]"])
port = st.integers(1, 65535)
ranges = st.tuples(port, port).map(lambda pair: f"{min(pair)}-{max(pair)}")
ports = st.lists(st.one_of(port.map(str), ranges), min_size=1, max_size=3).map(",".join)
suffix = st.one_of(st.just(""), st.builds(":{}{}".format, ports, st.sampled_from(["", "/tcp", "/udp"])))

schemathesis.openapi.format(
    "destination", st.builds("{}{}".format, st.one_of(names, addresses), suffix)
)
