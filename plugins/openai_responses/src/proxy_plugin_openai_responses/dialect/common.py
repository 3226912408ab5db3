"""Names that the modules of the dialect share."""

NAME = "openai_responses"
#: The maker whose models can read an item's ``encrypted_content``.
MAKER = "openai"
