// openai, responses.
export default async function (load, { url, key, model, prompts, tools, results, pixel, answer }) {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const ask = (input, more) => client.responses.create({ model, input, ...more });

  return {
    plain: async (prompt) => (await ask(prompt)).output_text,
    async *stream(prompt) {
      for await (const event of await ask(prompt, { stream: true })) {
        if (event.type === "response.output_text.delta") yield event.delta;
        // What this client only passes on:
        if (event.type === "response.failed") throw new Error(event.response.error.message);
        if (event.type === "error") throw new Error(event.message);
      }
    },
    look: async () => {
      const image = { type: "input_image", image_url: `data:image/png;base64,${pixel}`, detail: "auto" };
      return (await ask([{ role: "user", content: [{ type: "input_text", text: prompts.look }, image] }])).output_text;
    },
    shape: async () =>
      (await ask(prompts.shape, { text: { format: { type: "json_schema", name: "answer", strict: true, schema: answer } } })).output_text,
    async tools() {
      const input = [{ role: "user", content: prompts.tools }];
      const asked = [];
      const declared = tools.map((tool) => ({ type: "function", strict: true, ...tool }));
      for (;;) {
        const reply = await client.responses.stream({ model, input, tools: declared, store: false }).finalResponse();
        const calls = reply.output.filter((item) => item.type === "function_call");
        if (!calls.length) return { asked, text: reply.output_text };
        // Without what this client adds to the items, which the API does not know:
        const added = (name, value) => (name.startsWith("parsed") ? undefined : value);
        input.push(...JSON.parse(JSON.stringify(reply.output, added)));
        asked.push(calls.map((call) => ({ name: call.name, ...JSON.parse(call.arguments) })));
        for (const call of calls) {
          input.push({ type: "function_call_output", call_id: call.call_id, output: results[JSON.parse(call.arguments).city] });
        }
      }
    },
  };
}
