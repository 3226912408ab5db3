"""Libraries and editors: variables, and the lines of code where variables are not enough."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence

from proxy_plugin_clients.endpoint import Endpoint
from proxy_plugin_clients.program import ClientProgram, Configuration

Configure = Callable[[Endpoint], Configuration]


def _openai(code: str) -> Configure:
    """``code`` may contain ``MODEL``, which becomes the model in quotes."""

    def configure(endpoint: Endpoint) -> Configuration:
        return Configuration(
            variables={"OPENAI_BASE_URL": endpoint.v1, "OPENAI_API_KEY": endpoint.key},
            code=_filled(code, endpoint),
            requests=[endpoint.model],
        )

    return configure


def _anthropic(endpoint: Endpoint) -> Configuration:
    return Configuration(
        variables={"ANTHROPIC_BASE_URL": endpoint.root, "ANTHROPIC_AUTH_TOKEN": endpoint.key},
        code=_filled(_ANTHROPIC, endpoint),
        requests=[endpoint.model],
    )


def _google(endpoint: Endpoint) -> Configuration:
    return Configuration(
        variables={"GOOGLE_GEMINI_BASE_URL": endpoint.root, "GEMINI_API_KEY": endpoint.key},
        code=_filled(_GOOGLE, endpoint),
        requests=[endpoint.model],
    )


def _llm(endpoint: Endpoint) -> Configuration:
    """``llm`` reads the base URL from a list of models in a file of its own, and the key from its store of keys."""
    key = endpoint.key.shell(endpoint.windows)
    entry = {"model_id": "proxy", "model_name": endpoint.model, "api_base": endpoint.v1, "api_key_name": "proxy"}
    models = '"$(dirname "$(llm logs path)")/extra-openai-models.yaml"'
    lines = (
        f'llm keys set proxy --value "$({key})"',
        f"echo {shlex.quote('- ' + json.dumps(entry))} >> {models}",
        "llm -m proxy hi",
    )
    return Configuration(code="\n".join(lines), requests=[endpoint.model])


def _editor(endpoint: Endpoint) -> Configuration:
    """Editors that keep their settings behind a dialog: what to type into its fields."""
    fields = ("provider: OpenAI compatible", f"base URL: {endpoint.v1}", f"model: {endpoint.model}")
    key = f"API key: the output of `{endpoint.key.shell(endpoint.windows)}`"
    return Configuration(code="\n".join((*fields, key)), requests=[endpoint.model])


def _filled(code: str, endpoint: Endpoint) -> str:
    return code.strip("\n").replace("MODEL", json.dumps(endpoint.model)).replace("PROXY_URL", json.dumps(endpoint.v1))


_OPENAI = """
from openai import OpenAI

answer = OpenAI().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
print(answer.choices[0].message.content)
"""

_ANTHROPIC = """
from anthropic import Anthropic

answer = Anthropic().messages.create(model=MODEL, max_tokens=1000, messages=[{"role": "user", "content": "hi"}])
print(answer.content[0].text)
"""

_GOOGLE = """
from google import genai

client = genai.Client()
print(client.models.generate_content(model=MODEL, contents="hi").text)
"""

_LANGCHAIN = """
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

print(ChatOpenAI(model=MODEL).invoke("hi").content)
print(len(OpenAIEmbeddings(model="embedder", check_embedding_ctx_length=False).embed_query("hi")))
"""

_LLAMAINDEX = """
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(model=MODEL, api_base=PROXY_URL, is_chat_model=True)
print(model.complete("hi"))
"""

_VERCEL = """
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText } from "ai";

const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey } = process.env;
const proxy = createOpenAICompatible({ name: "proxy", baseURL, apiKey });
console.log((await generateText({ model: proxy(MODEL), prompt: "hi" })).text);
"""


def _library(name: str, title: str, dialect: str, configure: Configure, source: str) -> ClientProgram:
    return ClientProgram(name=name, title=title, dialect=dialect, configure=configure, source=source)


LIBRARIES: Sequence[ClientProgram] = (
    _library("openai", "openai SDKs", "openai_chat", _openai(_OPENAI), "https://github.com/openai/openai-python"),
    _library(
        "anthropic",
        "Anthropic SDKs",
        "anthropic_messages",
        _anthropic,
        "https://github.com/anthropics/anthropic-sdk-python",
    ),
    _library("google-genai", "Google Gen AI SDKs", "gemini", _google, "https://googleapis.github.io/python-genai"),
    _library(
        "langchain",
        "LangChain",
        "openai_chat",
        _openai(_LANGCHAIN),
        "https://docs.langchain.com/oss/python/integrations",
    ),
    _library("llamaindex", "LlamaIndex", "openai_chat", _openai(_LLAMAINDEX), "https://developers.llamaindex.ai"),
    _library("vercel", "Vercel AI SDK", "openai_chat", _openai(_VERCEL), "https://ai-sdk.dev/providers"),
    _library("llm", "llm", "openai_chat", _llm, "https://llm.datasette.io/en/stable/other-models.html"),
    _library("editor", "Cline, Roo Code, Continue, Zed", "openai_chat", _editor, "their settings dialogs"),
)
