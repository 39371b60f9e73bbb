// In: a token in the fragment, what is typed. Out: one conversation, drawn anew at every change. Why: example.html.

import { ChatboxClient } from "./chatbox-client.js";

const $ = (selector) => document.querySelector(selector);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname); // nobody is to copy it with the address

const client = new ChatboxClient({ getToken: () => token });

client.on("state", ({ state, reason, retryInMs }) => {
  $("#state").textContent = state === "offline" ? `offline, again in ${Math.ceil(retryInMs / 1000)} s` : `${state} ${reason}`;
});

client.on("change", () => {
  const items = client.messages.map((message) => {
    const item = document.createElement("li");
    item.className = `${message.sender} ${message.state}`;
    item.textContent = message.content; // never as HTML
    if (message.state === "failed") item.title = message.error?.message;
    if (message.state === "failed") item.onclick = () => client.retry(message);
    return item;
  });
  $("#log").replaceChildren(...items);
  client.markRead();
});

$("input").oninput = () => client.typing();
$("form").onsubmit = (event) => {
  event.preventDefault();
  try {
    client.send($("input").value);
    $("form").reset();
  } catch (error) {
    $("#state").textContent = error.message;
  }
};
client.connect();
