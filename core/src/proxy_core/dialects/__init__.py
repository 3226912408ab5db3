"""OpenAI's wire formats, which are the common language of clients and upstreams."""
