"""``proxy-core faults``: the faults of the conformance kit, played to a whole gateway over sockets."""
