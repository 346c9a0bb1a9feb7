/**
 * One exchange with the gateway: JSON there, JSON back, and a {@link Problem} for everything else.
 * @module
 */

const UNREACHABLE = "The gateway cannot be reached. Is this device online?";
const TEMPORARY = new Set([0, 502, 503, 504]);

/** What went wrong, as an RFC 9457 problem document tells it; `status` is 0 where no answer came. */
export class Problem extends Error {
  constructor({ status = 0, detail = UNREACHABLE, errors = {}, retryAfter = 0 } = {}) {
    super(detail);
    this.status = status;
    /** Dotted paths of the request → lists of sentences. */
    this.errors = errors;
    /** Seconds that the gateway asks to wait; 0 where it does not. */
    this.retryAfter = retryAfter;
  }

  /** True when the same request may succeed later, without anybody doing anything. */
  get isTemporary() {
    return TEMPORARY.has(this.status);
  }
}

/**
 * Send one request; return the answer.
 * Credentials are omitted: the browser shall neither keep them nor ask for them in a dialog of its own at a 401.
 */
export async function exchange(verb, path, { body, token, signal, keepalive = false } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method: verb, headers, signal, keepalive, credentials: "omit", cache: "no-store" };
  if (body !== undefined) request.body = JSON.stringify(body);
  const response = await fetch(path, request).catch((error) => {
    throw signal?.aborted ? error : new Problem();
  });
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  const document = isJson ? await response.json() : { detail: `The gateway answered ${response.status}.` };
  return new Problem({
    ...document,
    status: response.status,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}
