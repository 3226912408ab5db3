"""Names that the modules of the dialect share."""

NAME = "openai_responses"
#: The maker whose models can read an item's ``encrypted_content``.
MAKER = "openai"
#: What the ids of reasoning begin with that the proxy wrote: no upstream can find them.
OWN_REASONING = "rs_proxy"
