// @anthropic-ai/sdk, messages.
export default async function (load, { url, key, model, prompts, tools, results, pixel, answer }) {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const text = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
  const request = (messages, more) => ({ model, max_tokens: 1000, messages, ...more });
  const ask = async (content, more) => text(await client.messages.create(request([{ role: "user", content }], more)));

  return {
    plain: (prompt) => ask(prompt),
    async *stream(prompt) {
      for await (const event of client.messages.stream(request([{ role: "user", content: prompt }]))) {
        if (event.type === "content_block_delta" && event.delta.type === "text_delta") yield event.delta.text;
      }
    },
    look: () =>
      ask([{ type: "image", source: { type: "base64", media_type: "image/png", data: pixel } }, { type: "text", text: prompts.look }]),
    shape: () => ask(prompts.shape, { output_config: { format: { type: "json_schema", schema: answer } } }),
    async tools() {
      const messages = [{ role: "user", content: prompts.tools }];
      const asked = [];
      const declared = tools.map(({ name, description, parameters }) => ({ name, description, input_schema: parameters }));
      for (;;) {
        const message = await client.messages.stream(request(messages, { tools: declared })).finalMessage();
        const calls = message.content.filter((block) => block.type === "tool_use");
        if (!calls.length) return { asked, text: text(message) };
        asked.push(calls.map((call) => ({ name: call.name, ...call.input })));
        const content = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: results[call.input.city] }));
        messages.push({ role: "assistant", content: message.content }, { role: "user", content });
      }
    },
  };
}
