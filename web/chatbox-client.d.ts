// Made from chatbox-client.js by ./dev docs.
/**
 * Half a surrogate pair (an emoji that was cut) cannot be encoded as UTF-8: it becomes U+FFFD.
 * @param {string} text
 * @returns {string}
 */
export function mend(text: string): string;
/**
 * What a token says about itself, {} when it cannot be read. Nothing is verified: the server does that.
 * @param {string} token
 * @returns {{ user_id?: string, name?: string, exp?: number, nbf?: number, [claim: string]: unknown }}
 */
export function claims(token: string): {
    user_id?: string;
    name?: string;
    exp?: number;
    nbf?: number;
    [claim: string]: unknown;
};
/**
 * A message of the conversation.
 * @typedef {object} ChatboxMessage
 * @property {number} seq its number in the conversation; 0: not (yet) stored
 * @property {string} id "": not known yet
 * @property {string} cid the client's own id, of messages of this client only
 * @property {string} type "user_message", "ai_response", "file_upload" …
 * @property {"user" | "ai" | "admin" | "system"} sender
 * @property {string} name of an administrator
 * @property {string} content
 * @property {number} at milliseconds since 1970
 * @property {"" | "pending" | "failed" | "streaming"} state "": stored; pending: will be sent, or sent again
 * @property {string} [file_url]
 * @property {Record<string, unknown>} [metadata]
 * @property {ChatboxError} [error] why it failed
 * @property {boolean} [kept] of a pending one: it outlives this page
 * @property {number} [order] of an unsent one: its place among them
 * @property {string} [session] of an unsent one: the conversation in which it was first sent
 */
/**
 * Everything the client is told by. `on(name, listener)`.
 * @typedef {object} ChatboxEvents
 * @property {ChatboxState} state it connects, is online, is offline and will try again, or has given up
 * @property {ChatboxMessage} message a message has been stored: each once, in order, own ones included
 * @property {{ messages: ChatboxMessage[], reason: "first" | "gap" | "epoch" | "moved" }} history the newest page was
 *   loaded in place of what was known: at first, when too much was missed, when the server restored a backup, or when
 *   the conversation is another one
 * @property {undefined} change anything in `messages` has changed: draw it anew
 * @property {ChatboxMessage} failed a message of this client will not be sent any more, see its `error`
 * @property {ChatboxError} error the server refused something
 * @property {{ session_id: string, from: string, ended: boolean }} session the conversation has another id now
 * @property {{ received: number, read: number, unread: number }} mark how far the user's devices have got
 * @property {{ user_id: string, name: string, active: boolean }} typing
 * @property {{ code: string, reason: string, retry_after_ms: number }} bye the server is about to close the connection
 * @property {string} token a new token is in use
 * @property {Record<string, any>} event any message of the server, as it came
 */
/**
 * @typedef {object} ChatboxState
 * @property {"idle" | "connecting" | "online" | "offline" | "closed"} state
 *   offline: it will try again by itself; closed: only `connect()` or `setToken()` will
 * @property {string} reason "" or a word: network, silent, token_expired, unauthorized, erased, replaced, refused …
 * @property {number} retryInMs of offline
 * @property {boolean} refusedSocket of offline: the server answers, but takes no further connection now
 */
/**
 * What stands in for the world; tests bring their own.
 * @typedef {object} ChatboxWorld
 * @property {any} [WebSocket] in Node 20: the package `ws`
 * @property {typeof fetch} [fetch]
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length"> | null} [storage] localStorage;
 *   null: what is unsent does not outlive the page
 * @property {() => number} [now] milliseconds since 1970
 * @property {(run: () => void, ms: number) => any} [setTimeout]
 * @property {(timer: any) => void} [clearTimeout]
 * @property {() => number} [random] 0 ≤ x < 1
 * @property {Pick<EventTarget, "addEventListener" | "removeEventListener"> | null} [window] tells `online` and `pageshow`
 * @property {any} [document] tells `visibilitychange`
 */
/**
 * @typedef {object} ChatboxOptions
 * @property {string | URL} [url] of the server with its prefix, such as https://chat.example.com/chatbox; where this file
 *   came from, if absent
 * @property {string} [token] absent: getToken is asked for one
 * @property {(why: { reason: "first" | "expiring" | "unauthorized" | "token_expired" | "token_revoked", token: string }) =>
 *   Promise<string | null> | string | null} [getToken] brings a token, from your own backend. null: nobody is signed in
 * @property {string} [sessionId] the conversation to open; absent: the user's active one
 * @property {{ session_id: string, epoch?: string | number, seq: number }} [position] of an earlier `position`: goes on
 *   from there, so that nothing in between is missed
 * @property {number} [retryWithinMs] an error that says when to come back is obeyed up to this (60000); later: failed
 * @property {number} [maxUnsent] messages that may wait (10000)
 * @property {number} [recoverMax] messages that are fetched to fill a hole (10000); more: `history` with reason gap
 * @property {boolean} [markReceived] tell the server by itself what has arrived (true)
 * @property {ChatboxWorld} [world]
 */
/** What went wrong, with a code to act on; docs/client.md lists them. */
export class ChatboxError extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {{ status?: number, retryAfterMs?: number, recoverable?: boolean, cid?: string, incident?: string, detail?: string,
     *   sessionId?: string }} [more]
     */
    constructor(code: string, message: string, more?: {
        status?: number;
        retryAfterMs?: number;
        recoverable?: boolean;
        cid?: string;
        incident?: string;
        detail?: string;
        sessionId?: string;
    });
    code: string;
    /** Of HTTP; 0: the server was not reached. */
    status: number;
    retryAfterMs: number;
    recoverable: boolean;
    /** Of the message it is about, "" if of none. */
    cid: string;
    /** The number under which the server's log has more. */
    incident: string;
    detail: string;
    /** Of the conversation it is about. */
    sessionId: string;
    /** The message it is about is sent again without anybody's doing. */
    willRetry: boolean;
}
/** In: messages from the history, from the socket and from here, in any order and more than once. Out: one list in the
 *  order of the server, without doubles; what is unsent stands at its end. seq orders; id and cid tell what is the same. */
export class Conversation {
    /** @returns {ChatboxMessage[]} */
    get entries(): ChatboxMessage[];
    get unsent(): ChatboxMessage[];
    get pending(): ChatboxMessage[];
    /** The first that waits to be sent. */
    get next(): ChatboxMessage | undefined;
    get oldestSeq(): number;
    get newestSeq(): number;
    /** @param {string} cid */
    byCid(cid: string): any;
    /**
     * A message of this client, before the server has it.
     * @param {string} cid
     * @param {string} content
     * @param {number} at
     * @param {Partial<ChatboxMessage>} [more]
     * @returns {ChatboxMessage}
     */
    say(cid: string, content: string, at: number, more?: Partial<ChatboxMessage>): ChatboxMessage;
    /** @param {{ cid?: string, id?: string, seq?: number }} ack */
    acknowledge({ cid, id, seq }: {
        cid?: string;
        id?: string;
        seq?: number;
    }): void;
    /**
     * Without a cid it is the oldest one that waits: a conversation is worked through in order.
     * @param {string} [cid]
     * @param {ChatboxError} [error]
     */
    fail(cid?: string, error?: ChatboxError): any;
    /** @param {ChatboxMessage} entry */
    again(entry: ChatboxMessage): void;
    /**
     * A whole message, of whoever.
     * @param {Partial<ChatboxMessage>} message
     * @returns {ChatboxMessage}
     */
    receive(message: Partial<ChatboxMessage>): ChatboxMessage;
    /**
     * A piece of an answer that is being written.
     * @param {Partial<ChatboxMessage>} message
     * @param {boolean} done
     */
    stream(message: Partial<ChatboxMessage>, done: boolean): ChatboxMessage | undefined;
    /**
     * The newest page of the history, after a (re)connect. What only this client showed, such as a half-written answer,
     * goes; what is unsent stays. A hole between what we have and the page would lie: then the page replaces all.
     * @param {Partial<ChatboxMessage>[]} page
     */
    catchUp(page: Partial<ChatboxMessage>[]): void;
    /** The conversation is another one now: what it has not got yet may still be sent there. */
    forget(): void;
    /** What is unsent is dropped as well. */
    clear(): void;
    /** @param {ChatboxMessage} entry */
    drop(entry: ChatboxMessage): void;
    #private;
}
export class ChatboxClient {
    /** @param {ChatboxOptions} [options] */
    constructor(options?: ChatboxOptions);
    get state(): "closed" | "connecting" | "idle" | "offline" | "online";
    get online(): boolean;
    /** Of the conversation; "" until there is one. */
    get sessionId(): string;
    get userId(): string;
    get token(): string;
    /** All there is to show, in order; what is unsent comes last. A new array each time, of the same objects. */
    get messages(): ChatboxMessage[];
    /** Messages of this client that the server does not have: pending and failed ones. */
    get unsent(): ChatboxMessage[];
    /** Stored messages that have not been marked as read. */
    get unread(): number;
    /** There are older messages: `loadEarlier()`. */
    get hasEarlier(): boolean;
    /** Where we are: to be given as `position` to a later client that is to miss nothing. */
    get position(): {
        session_id: string;
        epoch: string | number | undefined;
        seq: number;
    };
    /**
     * @template {keyof ChatboxEvents} K
     * @param {K} name
     * @param {(value: ChatboxEvents[K]) => void} listener
     * @returns {() => void} takes it away again
     */
    on<K extends keyof ChatboxEvents>(name: K, listener: (value: ChatboxEvents[K]) => void): () => void;
    /** Connects, and stays connected until disconnect(). */
    connect(): void;
    /** Closes the connection. What is unsent stays. */
    disconnect(): void;
    /**
     * Says something. It is in `messages` at once; `delivered()` tells when the server has it.
     * @param {string} content
     * @param {{ cid?: string, metadata?: Record<string, unknown> }} [more]
     * @returns {ChatboxMessage}
     */
    send(content: string, { cid, metadata }?: {
        cid?: string;
        metadata?: Record<string, unknown>;
    }): ChatboxMessage;
    /**
     * Resolves once the server has stored the message; rejects with the error when it will not be sent.
     * @param {ChatboxMessage} message
     * @returns {Promise<ChatboxMessage>}
     */
    delivered(message: ChatboxMessage): Promise<ChatboxMessage>;
    /** A failed message once more, under the same cid. @param {ChatboxMessage} message */
    retry(message: ChatboxMessage): void;
    /** A failed message is not to be sent any more. @param {ChatboxMessage} message */
    discard(message: ChatboxMessage): void;
    /**
     * The page before the oldest message there is. A request that fails is tried again.
     * @param {number} [limit]
     * @returns {Promise<boolean>} whether there is still more
     */
    loadEarlier(limit?: number): Promise<boolean>;
    /** All up to this seq (the newest, if absent) has been read. @param {number} [seq] */
    markRead(seq?: number): void;
    /** To be called at every key; the server is told now and then. @param {boolean} [active] false: the text is empty again */
    typing(active?: boolean): void;
    /** A new token. One of the same user goes on over the open connection; another user's begins anew. @param {string} token */
    setToken(token: string): void;
    /** Ends this conversation; the next message begins another one. */
    startNew(): Promise<void>;
    /** A message of any kind, as it is. @returns {boolean} whether there was a connection. @param {Record<string, unknown>} message */
    sendRaw(message: Record<string, unknown>): boolean;
    /** Something woke us: what waits is tried now, and an open socket has to answer soon. */
    wake(): void;
    #private;
}
/**
 * A message of the conversation.
 */
export type ChatboxMessage = {
    /**
     * its number in the conversation; 0: not (yet) stored
     */
    seq: number;
    /**
     * "": not known yet
     */
    id: string;
    /**
     * the client's own id, of messages of this client only
     */
    cid: string;
    /**
     * "user_message", "ai_response", "file_upload" …
     */
    type: string;
    sender: "user" | "ai" | "admin" | "system";
    /**
     * of an administrator
     */
    name: string;
    content: string;
    /**
     * milliseconds since 1970
     */
    at: number;
    /**
     * "": stored; pending: will be sent, or sent again
     */
    state: "" | "pending" | "failed" | "streaming";
    file_url?: string | undefined;
    metadata?: Record<string, unknown> | undefined;
    /**
     * why it failed
     */
    error?: ChatboxError | undefined;
    /**
     * of a pending one: it outlives this page
     */
    kept?: boolean | undefined;
    /**
     * of an unsent one: its place among them
     */
    order?: number | undefined;
    /**
     * of an unsent one: the conversation in which it was first sent
     */
    session?: string | undefined;
};
/**
 * Everything the client is told by. `on(name, listener)`.
 */
export type ChatboxEvents = {
    /**
     * it connects, is online, is offline and will try again, or has given up
     */
    state: ChatboxState;
    /**
     * a message has been stored: each once, in order, own ones included
     */
    message: ChatboxMessage;
    /**
     * the newest page was
     * loaded in place of what was known: at first, when too much was missed, when the server restored a backup, or when
     * the conversation is another one
     */
    history: {
        messages: ChatboxMessage[];
        reason: "first" | "gap" | "epoch" | "moved";
    };
    /**
     * anything in `messages` has changed: draw it anew
     */
    change: undefined;
    /**
     * a message of this client will not be sent any more, see its `error`
     */
    failed: ChatboxMessage;
    /**
     * the server refused something
     */
    error: ChatboxError;
    /**
     * the conversation has another id now
     */
    session: {
        session_id: string;
        from: string;
        ended: boolean;
    };
    /**
     * how far the user's devices have got
     */
    mark: {
        received: number;
        read: number;
        unread: number;
    };
    typing: {
        user_id: string;
        name: string;
        active: boolean;
    };
    /**
     * the server is about to close the connection
     */
    bye: {
        code: string;
        reason: string;
        retry_after_ms: number;
    };
    /**
     * a new token is in use
     */
    token: string;
    /**
     * any message of the server, as it came
     */
    event: Record<string, any>;
};
export type ChatboxState = {
    /**
     *   offline: it will try again by itself; closed: only `connect()` or `setToken()` will
     */
    state: "idle" | "connecting" | "online" | "offline" | "closed";
    /**
     * "" or a word: network, silent, token_expired, unauthorized, erased, replaced, refused …
     */
    reason: string;
    /**
     * of offline
     */
    retryInMs: number;
    /**
     * of offline: the server answers, but takes no further connection now
     */
    refusedSocket: boolean;
};
/**
 * What stands in for the world; tests bring their own.
 */
export type ChatboxWorld = {
    /**
     * in Node 20: the package `ws`
     */
    WebSocket?: any;
    fetch?: typeof fetch | undefined;
    /**
     * localStorage;
     * null: what is unsent does not outlive the page
     */
    storage?: Pick<Storage, "length" | "key" | "getItem" | "removeItem" | "setItem"> | null | undefined;
    /**
     * milliseconds since 1970
     */
    now?: (() => number) | undefined;
    setTimeout?: ((run: () => void, ms: number) => any) | undefined;
    clearTimeout?: ((timer: any) => void) | undefined;
    /**
     * 0 ≤ x < 1
     */
    random?: (() => number) | undefined;
    /**
     * tells `online` and `pageshow`
     */
    window?: Pick<EventTarget, "addEventListener" | "removeEventListener"> | null | undefined;
    /**
     * tells `visibilitychange`
     */
    document?: any;
};
export type ChatboxOptions = {
    /**
     * of the server with its prefix, such as https://chat.example.com/chatbox; where this file
     * came from, if absent
     */
    url?: string | URL | undefined;
    /**
     * absent: getToken is asked for one
     */
    token?: string | undefined;
    /**
     * brings a token, from your own backend. null: nobody is signed in
     */
    getToken?: ((why: {
        reason: "first" | "expiring" | "unauthorized" | "token_expired" | "token_revoked";
        token: string;
    }) => Promise<string | null> | string | null) | undefined;
    /**
     * the conversation to open; absent: the user's active one
     */
    sessionId?: string | undefined;
    /**
     * of an earlier `position`: goes on
     * from there, so that nothing in between is missed
     */
    position?: {
        session_id: string;
        epoch?: string | number;
        seq: number;
    } | undefined;
    /**
     * an error that says when to come back is obeyed up to this (60000); later: failed
     */
    retryWithinMs?: number | undefined;
    /**
     * messages that may wait (10000)
     */
    maxUnsent?: number | undefined;
    /**
     * messages that are fetched to fill a hole (10000); more: `history` with reason gap
     */
    recoverMax?: number | undefined;
    /**
     * tell the server by itself what has arrived (true)
     */
    markReceived?: boolean | undefined;
    world?: ChatboxWorld | undefined;
};
declare global {
    var ChatboxClient: typeof import("./chatbox-client.js").ChatboxClient;
}
