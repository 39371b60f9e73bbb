// In: what the reader types. Out: a text to send, when it may be sent.
// Why: Enter sends and Shift+Enter does not, except while an input method composes; the limit is in bytes, as the
// server counts; a text typed while offline stays until it can go.

import { $ } from "./view.js";

const LIMIT = 10000; // bytes of UTF-8
const NEAR = 1000;
const encoder = new TextEncoder();

export class Composer {
  #online = false;

  /** send(text); typing(active): the reader types, or has taken it all back. */
  constructor(send, typing) {
    this.send = send;
    this.text = $("text");
    this.text.addEventListener("input", () => {
      this.#look();
      typing(this.text.value !== "");
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    $("composer").addEventListener("click", (event) => event.target === $("composer") && this.focus());
    this.#look();
  }

  focus() {
    this.text.focus();
  }

  online(yes) {
    this.#online = yes;
    this.#look();
  }

  #submit() {
    const content = this.text.value.trim();
    if ($("send").disabled) return;
    this.text.value = "";
    this.#look();
    this.send(content);
    this.focus();
  }

  #look() {
    const left = LIMIT - encoder.encode(this.text.value.trim()).length;
    const number = new Intl.NumberFormat().format(Math.abs(left));
    const bytes = Math.abs(left) === 1 ? "byte" : "bytes";
    $("counter").textContent = left >= NEAR ? "" : left >= 0 ? `${number} ${bytes} left` : `${number} ${bytes} too long`;
    $("counter").classList.toggle("over", left < 0);
    this.text.ariaInvalid = left < 0 ? "true" : "false";
    $("send").disabled = !this.#online || left === LIMIT || left < 0;
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
  }
}
