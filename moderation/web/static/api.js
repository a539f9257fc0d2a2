// Talk with the server: calls that carry the CSRF token, and pictures kept in memory, never on disk.

const csrf = document.querySelector('meta[name="csrf-token"]').content;
let thisWindow = newName();

export class Refused extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export async function call(name, body = {}) {
  return (await send(`/api/${name}`, { method: "POST", headers: headers(), body: JSON.stringify(body) })).json();
}

// Gives back all that the server has leased to this window, also what is still on its way; who comes back is a new one.
// The page may be going away: nobody waits for the answer.
export function closeWindow() {
  fetch("/api/leave", { method: "POST", headers: headers(), body: "{}", keepalive: true }).catch(() => {});
  thisWindow = newName();
}

// {url, width, height, isOriginal}: the picture at an address of this server, as an address in memory.
export async function fetchPicture(address) {
  const response = await send(address, {});
  const [width, height] = response.headers.get("X-Picture-Size").split("x").map(Number);
  const isOriginal = response.headers.get("X-Picture-Original") === "1";
  return { url: URL.createObjectURL(await response.blob()), width, height, isOriginal };
}

function newName() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

function headers() {
  return { "Content-Type": "application/json", "X-CSRF-Token": csrf, "X-Window": thisWindow };
}

async function send(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused("offline", "The server does not answer. Nothing was stored; please try again.");
  }
  if (response.ok) return response;
  if (response.status === 401) location.assign("/login");
  const problem = await response.json().catch(() => ({}));
  throw new Refused(problem.kind ?? "broken", problem.error ?? "Something went wrong on the server. Please try again.");
}
