// The control API under /sandbox/api and the WebSocket that says what changed.

const DEADLINE_MS = 20000;

export class ApiError extends Error {}

async function request(method, path, { query, body } = {}) {
  const address = new URL(`/sandbox/api/${path}`, location.origin);
  for (const [key, value] of Object.entries(query ?? {})) if (value !== undefined && value !== null) address.searchParams.set(key, value);
  let response;
  try {
    response = await fetch(address, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch {
    throw new ApiError("The sandbox does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(answer.error ?? `The sandbox answered ${response.status}.`);
  return answer;
}

export const get = (path, query) => request("GET", path, { query });
export const post = (path, body) => request("POST", path, { body: body ?? {} });

/** Keeps one WebSocket open; returns a function that ends it. `onOpen(again)` tells a first from a later opening. */
export function listen(user, onMessage, onOpen, onLost) {
  let socket;
  let timer;
  let ended = false;
  let tries = 0;
  let opened = false;

  const open = () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/sandbox/ws?user=${encodeURIComponent(user)}`);
    socket.addEventListener("open", () => {
      tries = 0;
      onOpen(opened);
      opened = true;
    });
    socket.addEventListener("message", (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch {
        return;
      }
      onMessage(message);
    });
    socket.addEventListener("close", () => {
      if (ended) return;
      onLost();
      tries += 1;
      timer = setTimeout(open, Math.min(10000, 250 * 2 ** tries));
    });
  };
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket.close();
  };
}
