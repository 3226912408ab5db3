// openai, chat completions.
export default async function (load, { url, key, model, prompts, tools, results, pixel, answer }) {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const ask = (content, more) =>
    client.chat.completions.create({ model, messages: [{ role: "user", content }], ...more });
  const text = async (reply) => (await reply).choices[0].message.content;

  return {
    plain: (prompt) => text(ask(prompt)),
    async *stream(prompt) {
      for await (const chunk of await ask(prompt, { stream: true })) {
        if (chunk.choices[0]?.delta.content) yield chunk.choices[0].delta.content;
      }
    },
    look: () =>
      text(ask([{ type: "text", text: prompts.look }, { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } }])),
    shape: () =>
      text(ask(prompts.shape, { response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: answer } } })),
    async tools() {
      const messages = [{ role: "user", content: prompts.tools }];
      const asked = [];
      const declared = tools.map(({ name, description, parameters }) => ({ type: "function", function: { name, description, parameters } }));
      for (;;) {
        const stream = client.chat.completions.stream({ model, messages, tools: declared });
        const { message } = (await stream.finalChatCompletion()).choices[0];
        if (!message.tool_calls?.length) return { asked, text: message.content };
        messages.push(message);
        asked.push(message.tool_calls.map((call) => ({ name: call.function.name, ...JSON.parse(call.function.arguments) })));
        for (const call of message.tool_calls) {
          messages.push({ role: "tool", tool_call_id: call.id, content: results[JSON.parse(call.function.arguments).city] });
        }
      }
    },
  };
}
