// In: a token. Out: the few HTTP answers the page needs, decoded.
// Why: a refused token, a missing conversation and a failing network are three different things to the reader; they
// leave here as errors with a status (0: the server was not reached).

export class HttpError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const here = new URL(".", location.href); // the page lies at {prefix}/chat.html, so {prefix}/ is beside it

export class Api {
  constructor(token) {
    this.token = token;
  }

  async #call(method, path) {
    const timeout = AbortSignal.timeout ? AbortSignal.timeout(15000) : undefined;
    let response;
    try {
      response = await fetch(new URL(path, here), {
        method,
        headers: { Authorization: `Bearer ${this.token}` },
        cache: "no-store",
        credentials: "omit",
        signal: timeout,
      });
      if (response.ok) return await response.json();
    } catch {
      throw new HttpError(0, "The server cannot be reached.");
    }
    throw new HttpError(response.status, `The server answered ${response.status}.`);
  }

  /** The user's conversations, newest first. */
  async sessions() {
    return (await this.#call("GET", "sessions")).sessions ?? [];
  }

  /** At most `limit` messages before `before` (a seq; 0: the newest), oldest first. */
  async history(id, before, limit) {
    const page = new URLSearchParams({ limit });
    if (before) page.set("before_seq", before);
    return (await this.#call("GET", `sessions/${encodeURIComponent(id)}?${page}`)).messages ?? [];
  }

  end(id) {
    return this.#call("POST", `sessions/${encodeURIComponent(id)}/end`);
  }

  /** A browser cannot set headers on a WebSocket, so the token goes into the query. */
  socketAddress(session) {
    const url = new URL("ws", here);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = new URLSearchParams({ token: this.token, ...(session && { session_id: session }) });
    return url;
  }
}
