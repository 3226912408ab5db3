"""The wire format ``anthropic_messages``: ``POST /v1/messages``, plain and streamed, both directions."""
