"""OpenAI's wire formats, the common language of clients and upstreams."""
