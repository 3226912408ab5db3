// The box where a model can be tried: sends the form, and shows the answer as it arrives, as text.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("[data-try]");
  if (!form) return;
  const find = (name) => document.querySelector(`[data-try-${name}]`);
  const send = find("send"), stop = find("stop"), place = find("answer"), problem = find("problem");
  const answer = place.querySelector("pre.answer"), thoughts = find("thoughts"), facts = find("facts"), link = find("link");
  let running = null;

  const shown = {
    text: (text) => { answer.textContent += text; },
    thought: (text) => { thoughts.hidden = false; thoughts.querySelector("pre").textContent += text; },
    problem: (text) => { problem.textContent = text; },
    done: (end) => {
      const tokens = end.prompt === null || end.completion === null ? "" : `, ${end.prompt} tokens in, ${end.completion} out`;
      const short = end.finish === "length" ? ", cut at the longest answer" : "";
      facts.textContent = `${end.served_by ? `${end.served_by}, ` : ""}${end.seconds} s${tokens}${short}.`;
      link.hidden = !end.id;
      link.href = `/admin/ui/requests?id=${encodeURIComponent(end.id)}`;
    },
  };

  const read = async (body) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", ended = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return ended;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const found = /^event: (\w+)\ndata: (.*)$/.exec(event);
        if (found && Object.hasOwn(shown, found[1])) shown[found[1]](JSON.parse(found[2]));
        ended = ended || Boolean(found && found[1] === "done");
      }
    }
  };

  const submit = async () => {
    running = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    place.hidden = false;
    thoughts.hidden = link.hidden = true;
    for (const element of [answer, problem, thoughts.querySelector("pre")]) element.textContent = "";
    facts.textContent = "Asking…";
    const token = JSON.parse(document.body.getAttribute("hx-headers"))["x-csrf-token"];
    try {
      const response = await fetch(form.dataset.try, {
        method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "x-csrf-token": token }, signal: running.signal,
      });
      if (!response.ok || !(response.headers.get("content-type") || "").startsWith("text/event-stream")) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        problem.textContent = page.querySelector("p")?.textContent.trim() || "The proxy refused.";
        facts.textContent = "";
      } else if (!await read(response.body)) {
        problem.textContent = "The answer broke off: the proxy stopped, or its settings were reloaded.";
        facts.textContent = "";
      }
    } catch (error) {
      if (error.name === "AbortError") facts.textContent = "Stopped.";
      else { problem.textContent = "The proxy cannot be reached."; facts.textContent = ""; }
    }
    running = null;
    send.disabled = false;
    stop.disabled = true;
  };

  form.addEventListener("submit", (event) => { event.preventDefault(); if (!running) submit(); });
  stop.addEventListener("click", () => { if (running) running.abort(); });
});
