"""The official Python clients, each behind the same few methods.

A further client is one more class here, and an entry in ``CLIENTS``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors, types
from tests.matrix.model import ANSWER, LOOK, PARAMETERS, PIXEL, RESULTS, SHAPE, TOOL, TOOLS

#: A failed request as every client reports it: its status, or ``None`` in a stream, and its message.
Failed = tuple[int | None, str]


class OpenAIChat:
    """``openai``, chat completions."""

    name = "openai-chat"
    failures = openai.APIError

    def __init__(self, url: str, key: str, model: str) -> None:
        http = openai.DefaultAsyncHttpxClient(verify=False)  # reading the authorities would take the longest
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)
        self.model = model

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, content: Any, **more: Any) -> Any:
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return await self.client.chat.completions.create(model=self.model, messages=messages, **more)

    async def plain(self, prompt: str) -> str:
        return (await self._ask(prompt)).choices[0].message.content

    async def stream(self, prompt: str) -> AsyncIterator[str]:
        async with await self._ask(prompt, stream=True) as chunks:
            async for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    async def look(self) -> str:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        return await self.plain_of([{"role": "user", "content": [{"type": "text", "text": LOOK}, image]}])

    async def plain_of(self, messages: list[Any]) -> str:
        return (await self._ask(messages)).choices[0].message.content

    async def shape(self) -> Any:
        schema = {"name": "answer", "strict": True, "schema": ANSWER}
        reply = await self._ask(SHAPE, response_format={"type": "json_schema", "json_schema": schema})
        return json.loads(reply.choices[0].message.content)

    async def tools(self) -> tuple[list[list[dict[str, Any]]], str]:
        tools = [
            {"type": "function", "function": {"name": name, "description": about, "parameters": PARAMETERS}}
            for name, about in TOOLS.items()
        ]
        messages: list[Any] = [{"role": "user", "content": TOOL}]
        asked: list[list[dict[str, Any]]] = []
        while True:
            async with self.client.chat.completions.stream(model=self.model, messages=messages, tools=tools) as stream:
                message = (await stream.get_final_completion()).choices[0].message
            if not message.tool_calls:
                return asked, message.content
            messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
            asked.append([])
            for call in message.tool_calls:
                arguments = json.loads(call.function.arguments)
                asked[-1].append({"name": call.function.name, **arguments})
                messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULTS[arguments["city"]]})

    def failed(self, error: Any) -> Failed:
        return getattr(error, "status_code", None), str(error)


class OpenAIResponses:
    """``openai``, responses."""

    name = "openai-responses"
    failures = openai.APIError

    def __init__(self, url: str, key: str, model: str) -> None:
        http = openai.DefaultAsyncHttpxClient(verify=False)  # reading the authorities would take the longest
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)
        self.model = model

    async def close(self) -> None:
        await self.client.close()

    async def plain(self, prompt: str) -> str:
        return (await self.client.responses.create(model=self.model, input=prompt)).output_text

    async def stream(self, prompt: str) -> AsyncIterator[str]:
        async with await self.client.responses.create(model=self.model, input=prompt, stream=True) as events:
            async for event in events:
                if event.type == "response.output_text.delta":
                    yield event.delta
                elif event.type in ("response.failed", "error"):  # which this client only passes on
                    error = event if event.type == "error" else event.response.error
                    raise openai.APIError(error.message, request=None, body=None)

    async def look(self) -> str:
        content = [
            {"type": "input_text", "text": LOOK},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
        ]
        reply = await self.client.responses.create(model=self.model, input=[{"role": "user", "content": content}])
        return reply.output_text

    async def shape(self) -> Any:
        form = {"type": "json_schema", "name": "answer", "strict": True, "schema": ANSWER}
        reply = await self.client.responses.create(model=self.model, input=SHAPE, text={"format": form})
        return json.loads(reply.output_text)

    async def tools(self) -> tuple[list[list[dict[str, Any]]], str]:
        tools = [
            {"type": "function", "name": name, "description": about, "parameters": PARAMETERS, "strict": True}
            for name, about in TOOLS.items()
        ]
        items: list[Any] = [{"role": "user", "content": TOOL}]
        asked: list[list[dict[str, Any]]] = []
        while True:
            async with self.client.responses.stream(model=self.model, input=items, tools=tools, store=False) as stream:
                reply = await stream.get_final_response()
            calls = [item for item in reply.output if item.type == "function_call"]
            if not calls:
                return asked, reply.output_text
            items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in reply.output]
            asked.append([])
            for call in calls:
                arguments = json.loads(call.arguments)
                asked[-1].append({"name": call.name, **arguments})
                output = {"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[arguments["city"]]}
                items.append(output)

    def failed(self, error: Any) -> Failed:
        return getattr(error, "status_code", None), str(error)


class Anthropic:
    """``anthropic``, messages."""

    name = "anthropic"
    failures = anthropic.APIError

    def __init__(self, url: str, key: str, model: str) -> None:
        http = anthropic.DefaultAsyncHttpxClient(verify=False)
        self.client = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, http_client=http)
        self.model = model

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, content: Any, **more: Any) -> str:
        messages = [{"role": "user", "content": content}]
        reply = await self.client.messages.create(model=self.model, max_tokens=1000, messages=messages, **more)
        return "".join(block.text for block in reply.content if block.type == "text")

    async def plain(self, prompt: str) -> str:
        return await self._ask(prompt)

    async def stream(self, prompt: str) -> AsyncIterator[str]:
        messages = [{"role": "user", "content": prompt}]
        async with self.client.messages.stream(model=self.model, max_tokens=1000, messages=messages) as stream:
            async for text in stream.text_stream:
                yield text

    async def look(self) -> str:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        return await self._ask([{"type": "image", "source": source}, {"type": "text", "text": LOOK}])

    async def shape(self) -> Any:
        form = {"format": {"type": "json_schema", "schema": ANSWER}}
        return json.loads(await self._ask(SHAPE, output_config=form))

    async def tools(self) -> tuple[list[list[dict[str, Any]]], str]:
        tools = [{"name": n, "description": about, "input_schema": PARAMETERS} for n, about in TOOLS.items()]
        messages: list[Any] = [{"role": "user", "content": TOOL}]
        asked: list[list[dict[str, Any]]] = []
        while True:
            async with self.client.messages.stream(
                model=self.model, max_tokens=1000, messages=messages, tools=tools
            ) as stream:
                reply = await stream.get_final_message()
            calls = [block for block in reply.content if block.type == "tool_use"]
            if not calls:
                return asked, "".join(block.text for block in reply.content)
            asked.append([{"name": call.name, **call.input} for call in calls])
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": RESULTS[call.input["city"]]}
                for call in calls
            ]
            content = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in reply.content]
            messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]

    def failed(self, error: Any) -> Failed:
        return getattr(error, "status_code", None), str(error)


class Google:
    """``google-genai``."""

    name = "google-genai"
    failures = errors.APIError

    def __init__(self, url: str, key: str, model: str) -> None:
        options = types.HttpOptions(
            base_url=url,
            retry_options=types.HttpRetryOptions(attempts=1),
            client_args={"verify": False},
            async_client_args={"ssl": False},
        )
        self.client = genai.Client(api_key=key, http_options=options)
        self.model = model

    async def close(self) -> None:
        await self.client.aio.aclose()
        self.client.close()

    async def _ask(self, contents: Any, **config: Any) -> Any:
        return await self.client.aio.models.generate_content(
            model=self.model, contents=contents, config=types.GenerateContentConfig(**config)
        )

    async def plain(self, prompt: str) -> str:
        return (await self._ask(prompt)).text

    async def stream(self, prompt: str) -> AsyncIterator[str]:
        stream = await self.client.aio.models.generate_content_stream(model=self.model, contents=prompt)
        async for chunk in stream:
            if chunk.text:
                yield chunk.text

    async def look(self) -> str:
        image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
        return (await self._ask([image, LOOK])).text

    async def shape(self) -> Any:
        reply = await self._ask(SHAPE, response_mime_type="application/json", response_json_schema=ANSWER)
        return json.loads(reply.text)

    async def tools(self) -> tuple[list[list[dict[str, Any]]], str]:
        declared = [
            types.FunctionDeclaration(name=n, description=about, parameters_json_schema=PARAMETERS)
            for n, about in TOOLS.items()
        ]
        config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=declared)])
        contents = [types.Content(role="user", parts=[types.Part(text=TOOL)])]
        asked: list[list[dict[str, Any]]] = []
        while True:
            stream = await self.client.aio.models.generate_content_stream(
                model=self.model, contents=contents, config=config
            )
            parts = [p async for chunk in stream for p in getattr(chunk.candidates[0].content, "parts", None) or ()]
            calls = [part.function_call for part in parts if part.function_call]
            if not calls:
                return asked, "".join(part.text or "" for part in parts)
            asked.append([{"name": call.name, **call.args} for call in calls])
            results = [
                types.Part(
                    function_response=types.FunctionResponse(
                        id=call.id, name=call.name, response={"output": RESULTS[call.args["city"]]}
                    )
                )
                for call in calls
            ]
            contents += [types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]

    def failed(self, error: Any) -> Failed:
        return error.code, str(error)


CLIENTS = {client.name: client for client in (OpenAIChat, OpenAIResponses, Anthropic, Google)}
