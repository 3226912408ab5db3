"""Right requests, responses, errors and files of each dialect and vendor, to be broken."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": ["string", "null"], "enum": ["x"]}, "b": {"$ref": "#/$defs/B"}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"B": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "array", "items": {"type": "string"}}]}},
}
_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "x"}'}}
_FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}

REQUESTS = {
    "openai_chat": {
        "model": "demo/m",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "h"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
                    {
                        "type": "file",
                        "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"},
                    },
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [_CALL], "reasoning_content": "r"},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "ok"}]},
        ],
        "tools": [{"type": "function", "function": {**_FUNCTION, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "stop": ["x"],
        "n": 1,
        "seed": 1,
        "temperature": 0.5,
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"1": 2},
        "metadata": {"session_id": "s"},
    },
    "openai_completions": {"model": "demo/m", "prompt": ["x", [1]], "suffix": "y", "echo": True, "stop": "z", "n": 2},
    "openai_embeddings": {"model": "demo/m", "input": ["x", "y"], "dimensions": 3, "encoding_format": "base64"},
    "gemini": {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "hi"},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf"}},
                    {"videoMetadata": {"fps": 1}, "inline_data": {"mime_type": "video/mp4", "data": PIXEL}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "t", "thought": True, "thoughtSignature": PIXEL},
                    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}, "thoughtSignature": PIXEL},
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                ],
            },
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": [1]}, "id": "1"}}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [
            {"functionDeclarations": [{**_FUNCTION, "parametersJsonSchema": SCHEMA, "parameters": {"type": "OBJECT"}}]},
            {"googleSearch": {}, "codeExecution": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "temperature": 1,
            "topK": 3,
            "candidateCount": 1,
            "maxOutputTokens": 5,
            "stopSequences": ["x"],
            "responseMimeType": "application/json",
            "responseSchema": SCHEMA,
            "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True, "thinkingLevel": "low"},
            "responseModalities": ["TEXT"],
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/x",
    },
    "anthropic_messages": {
        "model": "demo/m",
        "max_tokens": 3000,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "h"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}, "title": "t"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": PIXEL},
                    {"type": "redacted_thinking", "data": PIXEL},
                    {"type": "text", "text": "x"},
                    {"type": "tool_use", "id": "1", "name": "f", "input": {"a": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "1",
                        "content": [{"type": "text", "text": "ok"}],
                        "is_error": True,
                    }
                ],
            },
            {"role": "system", "content": "later"},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
        "metadata": {"user_id": "u"},
        "temperature": 1,
        "top_k": 5,
        "stop_sequences": ["x"],
        "stream": True,
    },
    "openai_responses": {
        "model": "demo/m",
        "instructions": "s",
        "input": [
            {"role": "developer", "content": "d"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "h"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                    {"type": "input_file", "file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "r"}],
                "encrypted_content": PIXEL,
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "x", "annotations": []}],
            },
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": "x"}', "namespace": "n"},
            {"type": "custom_tool_call", "call_id": "2", "name": "c", "input": "x"},
            {"type": "function_call_output", "call_id": "1", "output": "ok"},
            {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "ok"}]},
        ],
        "tools": [
            {"type": "function", **_FUNCTION, "strict": True},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", **_FUNCTION}]},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "parallel_tool_calls": True,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "prompt_cache_key": "k",
        "max_output_tokens": 50,
        "stream": True,
    },
    "gemini_embeddings": {
        "content": {"parts": [{"text": "x"}]},
        "taskType": "RETRIEVAL_QUERY",
        "title": "t",
        "outputDimensionality": 3,
    },
    "gemini_embeddings, several": {
        "requests": [{"model": "models/demo/m", "content": {"parts": [{"text": "x"}]}, "outputDimensionality": 3}] * 2,
    },
}
#: The last part of the path, for formats that say there what is asked for.
ACTIONS = {
    "gemini": ("generateContent", "streamGenerateContent"),
    "gemini_embeddings": ("embedContent",),
    "gemini_embeddings, several": ("batchEmbedContents",),
}


_USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "total_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "cost": 0.1,
    "prompt_cache_hit_tokens": 1,
}
_DELTA = {
    "role": "assistant",
    "content": "x",
    "reasoning_content": "r",
    "reasoning": "r",
    "refusal": None,
    "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x", "title": "t", "start_index": 0}}],
    "tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}],
    "function_call": {"name": "f", "arguments": "{}"},
    "audio": {"id": "a", "data": PIXEL, "transcript": "t"},
    "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}],
}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": _USAGE}
_GEMINI = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "x", "thought": True, "thoughtSignature": PIXEL},
                    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                ],
            },
            "finishReason": "STOP",
            "finishMessage": "m",
            "index": 0,
            "safetyRatings": [{"category": "c", "probability": "LOW", "blocked": False}],
            "citationMetadata": {"citationSources": [{"uri": "https://x", "startIndex": 0, "endIndex": 1}]},
            "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://x", "title": "t"}}]},
            "logprobsResult": {"chosenCandidates": [{"token": "x", "logProbability": -1}]},
        }
    ],
    "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
    "usageMetadata": {
        "promptTokenCount": 1,
        "candidatesTokenCount": 2,
        "totalTokenCount": 3,
        "cachedContentTokenCount": 1,
        "thoughtsTokenCount": 1,
        "toolUsePromptTokenCount": 1,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}],
    },
    "modelVersion": "m",
    "responseId": "r",
}
_GOOGLE_ERROR = {
    "error": {
        "code": 429,
        "message": "You exceeded your quota. Please retry in 3.5s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "PerDayPerProject", "quotaValue": "5", "quotaDimensions": {"model": "m"}}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"},
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "QUOTA_EXHAUSTED",
                "domain": "cloudcode-pa.googleapis.com",
                "metadata": {"quotaResetDelay": "1h2m3.5s", "quotaResetTimeStamp": "2026-01-01T00:00:00Z"},
            },
            {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "d", "url": "https://x"}]},
        ],
    }
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [
        {
            "type": "output_text",
            "text": "x",
            "annotations": [{"type": "url_citation", "url": "https://x"}],
            "logprobs": [],
        },
        {"type": "refusal", "refusal": "x"},
    ],
}
_THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "r"}],
    "content": [{"type": "reasoning_text", "text": "r"}],
    "encrypted_content": PIXEL,
}
_CALLED = {"id": "fc_1", "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "namespace": "n"}
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "incomplete",
    "error": None,
    "incomplete_details": {"reason": "max_output_tokens"},
    "model": "m",
    "output": [_THOUGHT, _MESSAGE, _CALLED, {**_CALLED, "type": "custom_tool_call", "input": "x"}, {"type": "x_call"}],
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 3,
    },
}
_ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "t", "signature": PIXEL},
        {"type": "redacted_thinking", "data": PIXEL},
        {"type": "text", "text": "x", "citations": [{"type": "web_search_result_location", "url": "https://x"}]},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "2", "name": "web_search", "input": {"query": "q"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 1},
    },
}
_ANTHROPIC_CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
_ANTHROPIC_DELTA = {
    "type": "input_json_delta",
    "partial_json": "{}",
    "text": "x",
    "thinking": "t",
    "signature": PIXEL,
    "citation": {"url": "https://x", "title": "t"},
}
RESPONSES = {
    "anthropic, whole": _ANTHROPIC,
    "anthropic, the start": {"type": "message_start", "message": _ANTHROPIC},
    "anthropic, a block": {"type": "content_block_start", "index": 0, "content_block": _ANTHROPIC_CALL},
    "anthropic, a delta": {"type": "content_block_delta", "index": 0, "delta": _ANTHROPIC_DELTA},
    "anthropic, the end of a block": {"type": "content_block_stop", "index": 0},
    "anthropic, the end": {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": "x"},
        "usage": {"output_tokens": 2},
    },
    "responses": _RESPONSE,
    "responses, an item": {"type": "response.output_item.done", "output_index": 1, "item": _MESSAGE},
    "responses, a call": {"type": "response.output_item.added", "output_index": 2, "item": _CALLED},
    "responses, a piece": {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "x",
        "logprobs": [{"token": "x", "logprob": -1}],
    },
    "responses, the end": {"type": "response.completed", "sequence_number": 9, "response": _RESPONSE},
    "responses, an error": {"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None},
    "openai, a chunk": {
        **_CHUNK,
        "choices": [{"index": 0, "delta": _DELTA, "finish_reason": "stop", "logprobs": {"content": []}}],
    },
    "openai, whole": {**_CHUNK, "choices": [{"index": 0, "message": _DELTA, "finish_reason": "tool_calls"}]},
    "openai, completions": {
        **_CHUNK,
        "choices": [{"index": 0, "text": "x", "finish_reason": "length", "logprobs": None}],
    },
    "openai, embeddings": {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1]},
            {"index": 1, "embedding": "AACAPwAAAEA="},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    },
    "gemini": _GEMINI,
    "gemini, embeddings": {
        "embedding": {"values": [0.5]},
        "embeddings": [{"values": [0.5, 1], "statistics": {"tokenCount": 1}}],
        "usageMetadata": {"promptTokenCount": 1},
    },
    "code assist": {
        "response": _GEMINI,
        "traceId": "t",
        "remainingCredits": [{"creditType": "x", "creditAmount": "1"}],
    },
    "a list": [_GEMINI, {"response": _GEMINI}],
    "an error": _GOOGLE_ERROR,
    "an error in a chunk": {**_CHUNK, "error": {"message": "overloaded", "code": 529, "type": "x"}},
}
ERRORS = {
    "anthropic": {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 2 tokens > 1 maximum"},
        "request_id": "r",
    },
    "openai": {"error": {"message": "Rate limit, try again in 3s", "type": "x", "code": "y", "param": None}},
    "google": _GOOGLE_ERROR,
    "google, a list": [_GOOGLE_ERROR],
    "code assist": {
        "error": {
            "code": 403,
            "status": "PERMISSION_DENIED",
            "message": "x",
            "details": [{"reason": "SERVICE_DISABLED"}],
        }
    },
    "dashscope": {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded", "request_id": "r"},
    "text": "upstream connect error",
    "nested": {"detail": [{"loc": ["body"], "msg": '{"error": {"message": "inner"}}'}], "errors": ["x"]},
}
HEADERS = {
    "retry-after": ("1", "-1", "1e999", "Wed, 21 Oct 2099 07:28:00 GMT", "9" * 400, "1.5", "nan", "infinity"),
    "retry-after-ms": ("1", "x", "9" * 30),
    "x-ratelimit-limit-requests": ("100", "1e400", "-5", "100;w=60"),
    "x-ratelimit-remaining-requests": ("0", "x", "", "1, 2"),
    "x-ratelimit-reset-requests": ("1s", "", "9" * 40, "1h2m", "2099-01-01T00:00:00Z", "1e18", "6m0.5s"),
    "x-ratelimit-reset": ("1700000000", "1700000000000", "9" * 25, "-1"),
    "ratelimit": ('"default";r=50;t=30', "limit=10, remaining=1, reset=5", ";;;"),
    "ratelimit-policy": ('"default";q=100;w=10', "100;w=60"),
    "ratelimit-reset": ("5", "1e5", "\u0665"),
    "anthropic-ratelimit-tokens-reset": ("2099-01-01T00:00:00Z", "x", "99999-01-01T00:00:00Z"),
    "anthropic-ratelimit-unified-reset": ("1700000000", "9" * 22),
    "date": ("Wed, 21 Oct 2026 07:28:00 GMT", "x"),
    "content-type": ("application/json", "text/html"),
}
LISTS = {
    "anthropic": {
        "data": [
            {
                "type": "model",
                "id": "m",
                "display_name": "M",
                "created_at": "2026-01-01T00:00:00Z",
                "max_input_tokens": 5,
                "max_tokens": 5,
                "lifecycle": "active",
                "capabilities": {"thinking": {"supported": True}, "image_input": {"supported": False}},
            }
        ],
        "has_more": True,
        "first_id": "m",
        "last_id": "m",
    },
    "openai": {
        "object": "list",
        "data": [{"id": "m", "object": "model", "created": 1, "context_length": 5, "pricing": {"prompt": "0.1"}}],
    },
    "gemini": {
        "models": [
            {
                "name": "models/m",
                "supportedGenerationMethods": ["generateContent"],
                "inputTokenLimit": 5,
                "version": "1",
            }
        ],
        "nextPageToken": "t",
    },
}
#: Files of other programs, and of the vault, in which logins and keys are.
FILES = {
    "google": {
        "access_token": "a",
        "refresh_token": "r",
        "expiry_date": 2_000_000_000_000,
        "client_id": "c",
        "client_secret": "s",
        "token_uri": "https://x.example/token",
        "scope": "s",
        "id_token": "e30.eyJlbWFpbCI6ICJhQGIuYyJ9.x",
        "type": "authorized_user",
        "quota_project_id": "q",
        "_proxy_metadata": {"email": "a@b.c", "project_id": "p", "tier": "free-tier"},
    },
    "google, in a keychain": {
        "serverName": "main-account",
        "token": {"accessToken": "a", "refreshToken": "r", "tokenType": "Bearer", "expiresAt": 2_000_000_000_000},
        "updatedAt": 1,
    },
    "qwen": {
        "access_token": "a",
        "refresh_token": "r",
        "token_type": "Bearer",
        "resource_url": "portal.qwen.ai",
        "expiry_date": 2_000_000_000_000,
    },
    "qwen, settings": {
        "env": {"DASHSCOPE_API_KEY": "k", "BAILIAN_CODING_PLAN_API_KEY": "k"},
        "modelProviders": {"openai": [{"id": "m", "envKey": "DASHSCOPE_API_KEY", "baseUrl": "https://x.example/v1"}]},
        "security": {"auth": {"selectedType": "openai", "apiKey": "k", "baseUrl": "https://x.example/v1"}},
    },
    "the vault's": {
        "version": 1,
        "kind": "google_oauth",
        "access_token": "a",
        "refresh_token": "r",
        "expires_at": "2026-01-01T00:00:00Z",
        "identity": "a@b.c",
        "tier": "free",
        "priority": 1,
        "disabled": False,
        "details": {"project_id": "p"},
        "secrets": {"client_secret": "s"},
        "needs_login": {"why": "w", "since": "2026-01-01T00:00:00Z", "token": "t"},
        "link": {"path": "/x", "format": "gemini_cli"},
        "origin": "login",
    },
}
#: What token, user and project servers say.
TOKEN_SERVERS = {
    "tokens": {
        "access_token": "a",
        "refresh_token": "r",
        "expires_in": 3600,
        "id_token": "e30.eyJlbWFpbCI6ICJhQGIuYyJ9.x",
        "scope": "s",
        "token_type": "Bearer",
        "resource_url": "portal.qwen.ai",
        "email": "a@b.c",
    },
    "refusal": {
        "error": "invalid_grant",
        "error_description": "Token has been expired or revoked.",
        "error_subtype": "x",
    },
    "project": {
        "cloudaicompanionProject": {"id": "p", "name": "n"},
        "currentTier": {"id": "free-tier", "name": "n", "quotaTier": "q"},
        "allowedTiers": [{"id": "free-tier", "isDefault": True, "userDefinedCloudaicompanionProject": False}],
        "ineligibleTiers": [{"reasonCode": "x", "reasonMessage": "m", "tierId": "t", "validationUrl": "https://x"}],
        "paidTier": {"id": "p", "availableCredits": [{"creditType": "x", "creditAmount": "5"}]},
        "done": True,
        "name": "operations/x",
        "response": {"cloudaicompanionProject": {"id": "p"}},
        "buckets": [{"modelId": "m", "remainingFraction": 0.5, "resetTime": "2026-01-01T00:00:00Z", "tokenType": "x"}],
    },
    "google's error": _GOOGLE_ERROR,
}
