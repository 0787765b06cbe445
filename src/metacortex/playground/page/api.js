// Talks to the server, and says what happened. Everything that is shown goes through textContent.

const channel = "BroadcastChannel" in window ? new BroadcastChannel("metacortex-play") : null;

export function make(tag, properties = {}, ...children) {
  const { style, dataset, attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  Object.assign(element.dataset, dataset ?? {});
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export const pictureOf = (drawing) => `/api/drawings/${encodeURIComponent(drawing)}`;

export const hue = (place) => `hsl(${(Math.round(place * 137.508) + 255) % 360} 68% var(--light))`;

export const percent = (p) => `${p > 0.995 && p < 1 ? ">99" : p < 0.005 && p > 0 ? "<1" : Math.round(100 * p)} %`;

export function time(seconds) {
  return seconds < 1 ? `${Math.max(1, Math.round(1000 * seconds))} ms` : `${seconds.toFixed(1)} s`;
}

let hiding;
export function complain(error) {
  const box = byId("error");
  box.textContent = error instanceof Error ? error.message : String(error);
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.hidden = true; }, 7000);
}

export function say(text) {
  byId("status").textContent = text;
}

export async function call(method, path, body) {
  const raw = body instanceof Blob;
  const options = { method, headers: { "X-Metacortex": "play" }, credentials: "same-origin" };
  if (method !== "GET") {
    options.headers["Content-Type"] = raw ? body.type || "application/octet-stream" : "application/json";
    options.body = raw ? body : JSON.stringify(body ?? {});
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is metacortex play still running?");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error ?? `The server says ${response.status}.`);
  return content;
}

// Other tabs of the same visitor hear of every change.
export function tellOthers(revision) {
  channel?.postMessage({ revision });
}

export function onOthers(heard) {
  if (channel) channel.onmessage = (event) => heard(event.data.revision);
}

export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    complain(error);
    return null;
  }
}
