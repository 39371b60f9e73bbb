// In: the URL of a WebSocket, a token, lines on standard input. Out: each line said as a user's message; each message that
// comes as a line of JSON.

import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const [url, token] = process.argv.slice(2);
const session = randomUUID();
const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` }, perMessageDeflate: false });
const tell = (what) => console.log(JSON.stringify(what));
socket.on("open", () => tell({ opened: true }));
socket.on("message", (data) => tell(JSON.parse(data)));
socket.on("error", (error) => tell({ failed: error.message }));
socket.on("close", (code) => {
  tell({ closed: code });
  process.exit();
});
createInterface({ input: process.stdin }).on("line", (content) =>
  socket.send(JSON.stringify({ type: "user_message", session_id: session, cid: randomUUID(), content })),
);
