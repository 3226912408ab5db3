"""A conversation that is too long: every client learns it in the words of its dialect, whatever the upstream's are.

Where the words were seen: cline #3120, #5140; opencode #25231, #305; Qwen3 #1321; sglang #4048; xinference #3785; vllm
#12165, #20409, #33418, #42474; forgecode #1143; continue #6080; kimi-cli #2011; MiniMax-M2 #119; zeroclaw #4124;
copilot-intellij-feedback #94; topically #4; text-generation-inference #628, #695; lmstudio-bug-tracker #546; openclaude
#353; amurex-backend #51; llama.cpp #15780; nano-brain #208; fw-ai/cookbook #134; bedrock-chat #95; llama_index #7974;
mlx-serve #66.
"""

import json

import pytest

SAID = [{"role": "user", "content": "hi"}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
MESSAGES = "/messages", {"model": "up/m", "messages": SAID, "max_tokens": 10}
RESPONSES = "/responses", {"model": "up/m", "input": "hi"}
GEMINI = "/../v1beta/models/up/m:generateContent", CONTENTS

#: By server: the status, the error, and the numbers that clients are told; the third is reserved for the response.
WORDS = {
    "xAI": (
        400,
        {"message": "This model's maximum prompt length is 131072 but the request contains 136973 tokens."},
        (136973, 131072),
    ),
    "SGLang": (
        400,
        {
            "message": "Requested token count exceeds the model's maximum context length of 40960 tokens. You "
            "requested a total of 46392 tokens: 30008 tokens from the input messages and 16384 for the completion."
        },
        (30008, 40960, 16384),
    ),
    "SGLang, the input": (
        400,
        {"message": "The input (61709 tokens) is longer than the model's context length (40960 tokens)."},
        (61709, 40960),
    ),
    "SGLang, shorter": (
        400,
        {"message": "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."},
        (160062, 59862),
    ),
    "Together, TGI": (
        422,
        {
            "message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 65537. "
            "Given: 79993 `inputs` tokens and 1024 `max_new_tokens`"
        },
        (79993, 65537),
    ),
    "TGI": (
        422,
        {"message": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168"},
        (1168, 1024),
    ),
    "vLLM": (
        400,
        {"message": "The decoder prompt (length 21535) is longer than the maximum model length of 16384."},
        (21535, 16384),
    ),
    "vLLM behind Xinference": (
        500,
        {"message": "[pid=1] The decoder prompt (length 9) is longer than the maximum model length of 8."},
        (9, 8),
    ),
    "vLLM, multimodal": (
        400,
        {"message": "The prompt (total length 25938) is too long to fit into the model (context length 4096)."},
        (25938, 4096),
    ),
    "vLLM of 2026": (
        400,
        {
            "message": "You passed 99073 input tokens and requested 32000 output tokens. However, the model's context "
            "length is only 131072 tokens, resulting in a maximum input length of 99072 tokens.",
            "param": "input_tokens",
        },
        (99073, 131072, 32000),
    ),
    "vLLM of 2025": (
        400,
        {
            "message": "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context "
            "length is 131072 tokens and your request has 110000 input tokens (32000 > 131072 - 110000)."
        },
        (110000, 131072, 32000),
    ),
    "vLLM, the response": (
        400,
        {
            "message": "This model's maximum context length is 128000 tokens. However, you requested 65535 output "
            "tokens and your prompt contains at least 62466 input tokens, for a total of at least 128001 tokens."
        },
        (62466, 128000, 65535),
    ),
    "OpenAI, the response": (
        400,
        {
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5060 tokens (4036 "
            "in the messages, 1024 in the completion). Please reduce the length of the messages or completion."
        },
        (4036, 4096, 1024),
    ),
    "OpenAI, a prompt": (
        400,
        {
            "message": "This model's maximum context length is 4097 tokens, however you requested 4322 tokens (4066 in "
            "your prompt; 256 for the completion). Please reduce your prompt; or completion length."
        },
        (4066, 4097, 256),
    ),
    "OpenRouter, the response": (
        400,
        {
            "message": "This endpoint's maximum context length is 200000 tokens. However, you requested about 264437 "
            "tokens (182437 of text input, 82000 in the output). Please reduce the length of either one."
        },
        (182437, 200000, 82000),
    ),
    "Bedrock, the response": (
        400,
        {
            "message": "The model returned the following errors: input length and `max_tokens` exceed context limit: "
            "199759 + 8192 > 200000, decrease input length or `max_tokens` and try again"
        },
        (199759, 200000, 8192),
    ),
    "OpenRouter": (
        400,
        {"message": "This endpoint's maximum context length is 128000 tokens. You requested about 130000 tokens."},
        (130000, 128000),
    ),
    "DeepSeek": (
        400,
        {
            "message": "This model's maximum context length is 65536 tokens. However, you requested 84000 tokens "
            "(80000 in the messages, 4000 in the completion).",
            "type": "invalid_request_error",
            "code": "invalid_request_error",
        },
        (80000, 65536),
    ),
    "Moonshot": (
        400,
        {"message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)"},
        (269030, 262144),
    ),
    "MiniMax": (400, {"message": "invalid params, context window exceeds limit (2013)"}, None),
    "Zhipu": (400, {"code": "1261", "message": "Prompt exceeds max length"}, None),
    "Copilot": (
        400,
        {
            "message": "prompt token count of 138898 exceeds the limit of 64000",
            "code": "model_max_prompt_tokens_exceeded",
        },
        (138898, 64000),
    ),
    "Copilot, its code": (400, {"message": "Too much.", "code": "model_max_prompt_tokens_exceeded"}, None),
    "Cohere": (
        400,
        {
            "message": "too many tokens: total number of tokens (prompt and prediction) cannot exceed 2048 - received "
            "6354. Try using a shorter prompt or a smaller max_tokens value."
        },
        (6354, 2048),
    ),
    "Cohere, by how much": (400, {"message": "too many tokens: size limit exceeded by 11326 tokens."}, None),
    "LM Studio": (
        400,
        {
            "message": "Trying to keep the first 10136 tokens when context the overflows. However, the model is loaded "
            "with context length of only 7866 tokens, which is not enough."
        },
        (10136, 7866),
    ),
    "LM Studio of 2026": (
        400,
        {
            "message": "The number of tokens to keep from the initial prompt is greater than the context length "
            "(n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length."
        },
        (13055, 4096),
    ),
    "Cerebras": (
        400,
        {
            "message": "Please reduce the length of the messages or completion. Current length is 42328 while limit is "
            "40000",
            "code": "context_length_exceeded",
        },
        (42328, 40000),
    ),
    "Groq": (
        400,
        {"message": "Please reduce the length of the messages or completion.", "code": "context_length_exceeded"},
        None,
    ),
    "llama.cpp": (
        500,
        {
            "code": 500,
            "message": "the request exceeds the available context size. try increasing the context size",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 1407,
            "n_ctx": 256,
        },
        (1407, 256),
    ),
    "llama.cpp of 2026": (
        400,
        {"message": "request (1407 tokens) exceeds the available context size (256 tokens), try increasing it"},
        (1407, 256),
    ),
    "llama-cpp-python": (400, {"message": "Requested tokens (2285) exceed context window of 2048"}, (2285, 2048)),
    "Ollama": (400, {"message": "the input length exceeds the context length"}, None),
    "Ollama, by how much": (400, {"message": "prompt too long; exceeded max context length by 4 tokens"}, None),
    "Mistral": (
        400,
        {
            "message": "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum "
            "context length"
        },
        (65673, 32768),
    ),
    "Fireworks": (
        400,
        {"message": "The prompt is too long: 40177, model maximum context length: 32767"},
        (40177, 32767),
    ),
    "Bedrock": (400, {"message": "Input is too long for requested model."}, None),
    "Bedrock, Anthropic": (
        400,
        {"message": "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum"},
        (200049, 200000),
    ),
    "Replicate": (
        400,
        {"message": "Your input is too long. Max input length is 4096 tokens, but you supplied 5441 tokens."},
        (5441, 4096),
    ),
    "MLX": (400, {"message": "Prompt exceeds maximum context length"}, None),
    "OpenAI": (400, {"message": "Your input exceeds the context window of this model."}, None),
    "Alibaba": (400, {"message": "Range of input length should be [1, 129024]"}, None),
    "Google": (
        400,
        {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
        (1200000, 1048576),
    ),
    "Google, without its count": (
        400,
        {"message": "The input token count exceeds the maximum number of tokens allowed 1048576."},
        None,
    ),
}
#: Some of the same words, about something else.
OTHERS = {
    "a long response": (400, "max_tokens is too large: 64000. This model supports at most 16384 completion tokens"),
    "a long response, Bedrock": (400, "The maximum tokens you requested exceeds the model limit of 2048."),
    "a long response, TGI": (422, "Input validation error: `max_new_tokens` must be <= 192. Given: 512"),
    "a long field": (400, "Invalid 'user': string too long. Expected a string with maximum length 64"),
    "a limit per minute": (413, "Request too large for model `m` on tokens per minute: Limit 10000, Requested 21247"),
    "a large image": (400, "The image exceeds the size limit of 5 MB"),
}


@pytest.fixture
async def proxy(make_proxy, upstream):
    return await make_proxy({"providers": {"up": {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}}})


@pytest.mark.parametrize(("status", "error", "numbers"), WORDS.values(), ids=WORDS)
async def test_every_client_learns_it_in_the_words_of_its_dialect(proxy, upstream, status, error, numbers):
    upstream.responds(status, {"error": error})

    chat = await proxy.chat("up/m", "hi")
    messages = await proxy.post(*MESSAGES)
    responses = await proxy.post(*RESPONSES)
    gemini = await proxy.post(*GEMINI)

    assert [answer.status for answer in (chat, messages, responses, gemini)] == [400] * 4
    assert len([request for request in upstream.requests if "chat" in request.path]) == 4, "nobody tries again"
    for answer in (chat, responses):
        assert answer.json["error"]["code"] == "context_length_exceeded"
        assert answer.json["error"]["message"] == error["message"]
    assert messages.json["error"]["type"] == "invalid_request_error"
    assert any(detail.get("reason") == "CONTEXT_LENGTH_EXCEEDED" for detail in gemini.json["error"]["details"])
    told, google = messages.json["error"]["message"], gemini.json["error"]["message"]
    if numbers is None:
        assert told == f"prompt is too long: {error['message']}"
        assert google == error["message"]
    elif len(numbers) == 3:
        tokens, limit, reserved = numbers
        assert told == (
            f"input length and `max_tokens` exceed context limit: {tokens} + {reserved} > {limit}, "
            "decrease input length or `max_tokens` and try again"
        )
        assert google == error["message"]
    else:
        tokens, limit = numbers
        assert told == f"prompt is too long: {tokens} tokens > {limit} maximum"
        assert google == f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit})."


@pytest.mark.parametrize(("status", "said"), OTHERS.values(), ids=OTHERS)
async def test_other_faults_are_not_taken_for_it(proxy, upstream, status, said):
    upstream.responds(status, {"error": {"message": said}})

    chat, messages = await proxy.chat("up/m", "hi"), await proxy.post(*MESSAGES)

    assert chat.json["error"]["code"] is None
    assert messages.json["error"]["message"] == said


@pytest.mark.parametrize(("path", "body"), [MESSAGES, RESPONSES, ("/chat/completions", MESSAGES[1])])
async def test_it_is_recognized_inside_a_stream(proxy, upstream, path, body):
    error = {"error": {"message": "Prompt exceeds max length", "code": "1261"}}
    upstream.says(b"data: " + json.dumps(error).encode() + b"\n\n")

    answer = await proxy.post(path, {**body, "stream": True})

    assert answer.status == 400
    assert answer.json["error"]["code"] == "context_length_exceeded"
