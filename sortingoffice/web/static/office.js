// What a page does beyond its forms: copy, show times in the reader's zone, narrow a list, use a passkey.
// Every page works without it.
"use strict";

const said = document.getElementById("said");

function say(text) {
  said.textContent = text;
  said.classList.add("on");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("on"), 4000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a browser has no clipboard for pages; the old way still works.
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "hush";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("Could not copy: select it and copy by hand.");
  }
  say("Copied " + text);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button.dataset.copy);
  const bookmark = event.target.closest("[data-bookmarklet]");
  if (bookmark) {
    event.preventDefault();
    say("Drag it to your bookmarks bar.");
  }
});

// A form that was sent is not sent again by a second press, however long the office takes; going back to it,
// or when the answer must have been lost, it can be.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  const sent = Number(event.target.dataset.sent || -Infinity);
  if (event.timeStamp - sent < 30000) event.preventDefault();
  else event.target.dataset.sent = event.timeStamp;
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  const form = time.dataset.form === "day" ? { dateStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
  time.title = time.textContent;
  time.textContent = new Intl.DateTimeFormat(undefined, form).format(at);
}

const search = document.getElementById("search");
const rows = document.getElementById("rows");
if (search && rows) {
  search.addEventListener("input", () => {
    const wanted = search.value.toLocaleLowerCase();
    const beyond = document.getElementById("beyond");
    if (beyond) beyond.hidden = !wanted;
    for (const row of rows.children) {
      row.hidden = !row.querySelector(".what").textContent.toLocaleLowerCase().includes(wanted);
    }
  });
}
const chosen = document.getElementById("state");
if (chosen) chosen.addEventListener("change", () => chosen.form.requestSubmit());

// ---- passkeys ------------------------------------------------------------------------------------

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function ask(path, body, token) {
  const headers = { Accept: "application/json" };
  if (token) headers["X-Form-Token"] = token;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body || token ? "POST" : "GET", headers, body: body ? JSON.stringify(body) : null });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

async function register(token) {
  const options = await ask("/passkeys/new", null, token);
  options.challenge = bytes(options.challenge);
  options.user.id = bytes(options.user.id);
  for (const each of options.excludeCredentials || []) each.id = bytes(each.id);
  const made = await navigator.credentials.create({ publicKey: options });
  await ask("/passkeys", {
    id: made.id, rawId: text(made.rawId), type: made.type,
    response: {
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports ? made.response.getTransports() : [],
    },
  }, token);
  location.reload();
}

async function signIn() {
  const options = await ask("/signin/passkey");
  options.challenge = bytes(options.challenge);
  const shown = await navigator.credentials.get({ publicKey: options });
  const done = await ask("/signin/passkey", {
    id: shown.id, rawId: text(shown.rawId), type: shown.type,
    response: {
      clientDataJSON: text(shown.response.clientDataJSON),
      authenticatorData: text(shown.response.authenticatorData),
      signature: text(shown.response.signature),
      userHandle: shown.response.userHandle ? text(shown.response.userHandle) : null,
    },
  });
  location.assign(done.next);
}

if (window.PublicKeyCredential) {
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await (button.dataset.passkey === "register" ? register(button.dataset.token) : signIn());
      } catch (error) {
        say(error.name === "NotAllowedError" ? "That was stopped." : error.message || "That did not work.");
      }
    });
  }
}
