"""The content of messages and of tool results."""

from __future__ import annotations

from proxy_core import Audio, File, Image, InlineData, JsonObject, Native, Part, Refusal, Source, Text, UploadedFile
from proxy_core.dialects.common import decode_url, json_bytes, missing, optional_str, wrong_type
from proxy_plugin_openai_responses.dialect.common import NAME


def decode_content(content: object, at: str) -> list[Part]:
    if content is None:
        raise missing(f"{at}.content")
    return _decode(content, f"{at}.content")


def decode_output(output: object, at: str, *, plain: bool) -> list[Part]:
    """A tool's result. One that is not ``plain`` is of a tool that is built into the format: an object of its own."""
    if output is None:
        raise missing(at)
    if plain:
        _check_plain(output, at)
    match output:
        case {"image_url": str(url)}:
            return [Image(source=_address(url, f"{at}.image_url"))]
        case list() if all(isinstance(part, dict) and str(part.get("type")).startswith("input_") for part in output):
            return _decode(output, at)
        case str():
            return [Text(text=output)]
        case _:
            return [Text(text=json_bytes(output).decode())]


def _check_plain(output: object, at: str) -> None:
    if not isinstance(output, str | list):
        raise wrong_type(at, "a string or an array of parts")
    for index, part in enumerate(output if isinstance(output, list) else ()):
        if not isinstance(part, dict):
            raise wrong_type(f"{at}[{index}]", "an object")
        if not isinstance(part.get("type"), str | None):
            raise wrong_type(f"{at}[{index}].type", "a string")


def _decode(content: object, at: str) -> list[Part]:
    if isinstance(content, str):
        return [Text(text=content)]
    if not isinstance(content, list):
        raise wrong_type(at, "a string or an array of parts")
    return [_decode_part(part, f"{at}[{index}]") for index, part in enumerate(content)]


def _decode_part(part: object, at: str) -> Part:
    if not isinstance(part, dict):
        raise wrong_type(at, "an object")
    match part:
        case {"type": "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text", "text": str(text)}:
            return Text(text=text)
        case {"type": "refusal", "refusal": str(text)}:
            return Refusal(text=text)
        case {"type": "input_image"}:
            detail = part.get("detail")
            return Image(source=_image(part, at), detail=detail if isinstance(detail, str) else None)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(style)}}:
            return Audio(source=InlineData(media_type=f"audio/{style}", data=data), format=style)
        case {"type": "input_file"}:
            return File(source=_file(part, at), filename=optional_str(part, "filename", f"{at}."))
        case {"type": "input_text" | "output_text"}:
            raise wrong_type(f"{at}.text", "a string")
        case {"type": "refusal" | "input_audio" as kind}:
            raise missing(f"{at}.{kind}")
        case {"type": str()}:
            return Native(dialect=NAME, payload=part)
        case _:
            raise missing(f"{at}.type")


def _image(part: JsonObject, at: str) -> Source:
    match part:
        case {"image_url": str(url)}:
            return _address(url, f"{at}.image_url")
        case {"file_id": str(file_id)}:
            return UploadedFile(file_id=file_id)
        case {"image_url": None} | {"file_id": None}:
            raise missing(f"{at}.image_url")
        case {"image_url": _}:
            raise wrong_type(f"{at}.image_url", "a string")
        case _:
            raise missing(f"{at}.image_url")


def _file(part: JsonObject, at: str) -> Source:
    match part:
        case {"file_data": str(data)}:
            if data[:5].lower() == "data:":
                return decode_url(data)
            # Without a data URL only the name indicates the type; OpenAI itself accepts PDFs.
            name = str(part.get("filename") or "").lower()
            known = name.endswith(".pdf") or "." not in name
            return InlineData(media_type="application/pdf" if known else "application/octet-stream", data=data)
        case {"file_url": str(url)}:
            return _address(url, f"{at}.file_url")
        case {"file_id": str(file_id)}:
            return UploadedFile(file_id=file_id)
        case _:
            raise missing(f"{at}.file_data")


def _address(url: str, at: str) -> Source:
    if not url[:8].lower().startswith(("data:", "http://", "https://")):
        raise wrong_type(at, "a URL that begins with 'https://', 'http://' or 'data:'")
    return decode_url(url)
