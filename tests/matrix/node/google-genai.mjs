// @google/genai.
export default async function (load, { url, key, model, prompts, tools, results, pixel, answer }) {
  const { GoogleGenAI } = await load("@google/genai");
  const { models } = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const ask = async (contents, config) => (await models.generateContent({ model, contents, config })).text;

  return {
    plain: (prompt) => ask(prompt),
    async *stream(prompt) {
      // Leaving its loop leaves this client's stream running: it has to be aborted.
      const leaving = new AbortController();
      try {
        const config = { abortSignal: leaving.signal };
        for await (const chunk of await models.generateContentStream({ model, contents: prompt, config })) {
          if (chunk.text) yield chunk.text;
        }
      } finally {
        leaving.abort();
      }
    },
    look: () => ask([{ inlineData: { mimeType: "image/png", data: pixel } }, prompts.look]),
    shape: () => ask(prompts.shape, { responseMimeType: "application/json", responseJsonSchema: answer }),
    async tools() {
      const contents = [{ role: "user", parts: [{ text: prompts.tools }] }];
      const asked = [];
      const functionDeclarations = tools.map(({ name, description, parameters }) => ({ name, description, parametersJsonSchema: parameters }));
      for (;;) {
        const parts = [];
        const config = { tools: [{ functionDeclarations }] };
        for await (const chunk of await models.generateContentStream({ model, contents, config })) {
          parts.push(...(chunk.candidates?.[0].content?.parts ?? []));
        }
        const calls = parts.flatMap((part) => part.functionCall ?? []);
        if (!calls.length) return { asked, text: parts.map((part) => part.text ?? "").join("") };
        asked.push(calls.map((call) => ({ name: call.name, ...call.args })));
        const answers = calls.map(({ id, name, args }) => ({ functionResponse: { id, name, response: { output: results[args.city] } } }));
        contents.push({ role: "model", parts }, { role: "user", parts: answers });
      }
    },
  };
}
