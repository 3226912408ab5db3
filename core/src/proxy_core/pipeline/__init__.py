"""What happens to a request between the client's bytes and the upstream's."""
