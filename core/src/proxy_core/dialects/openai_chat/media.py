"""Images and audio in a response, in the form that chat clients know: a member ``images`` or ``audio``.

Decoders of other formats say them in this form as well as in their own, so that each encoder has to read only one.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy_core.dialects.common import decode_url
from proxy_core.messages import Carried, InlineData

_CHAT = "openai_chat"


def media_event(media: InlineData, choice: int = 0) -> Carried:
    if media.media_type.startswith("audio/"):
        return Carried(dialect=_CHAT, payload={"delta": {"audio": {"data": media.data}}}, choice=choice)
    url = f"data:{media.media_type};base64,{media.data}"
    images = [{"type": "image_url", "image_url": {"url": url}}]
    return Carried(dialect=_CHAT, payload={"delta": {"images": images}}, choice=choice)


def media_in(event: Carried) -> Iterator[InlineData]:
    """The images and the audio of an event, which may be a piece of it; an audio's type is only ``audio``."""
    delta = event.payload.get("delta") if event.dialect == _CHAT else None
    match delta:
        case {"images": list(images)}:
            for image in images:
                match image:
                    case {"image_url": {"url": str(url)}} if isinstance(found := decode_url(url), InlineData):
                        yield found
        case {"audio": {"data": str(data)}}:
            yield InlineData(media_type="audio", data=data)


def left_out_note(media: InlineData) -> str:
    """For the text of a response whose format has no place for it: by then, the headers have been sent."""
    return f"[The response also has content of type {media.media_type}, which this API cannot carry.]"
