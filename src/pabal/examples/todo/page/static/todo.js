// The page works without this file. With it, forms are sent in the background, and the list follows the events.

const $ = (id) => document.getElementById(id);

// One reading at a time; what happens meanwhile is in the next one.
let reading = false;
let again = false;
let later;

async function refresh() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  clearTimeout(later);
  try {
    const response = await fetch("/items", { headers: { Accept: "application/json" } });
    const view = await response.json();
    if (!response.ok) throw new Error(view.error);
    show(view);
    // No event tells that a message has died.
    if (view.on_their_way) later = setTimeout(refresh, 5000);
  } catch (error) {
    later = setTimeout(refresh, 2000);
  } finally {
    reading = false;
  }
  if (again) {
    again = false;
    refresh();
  }
}

function show(view) {
  showItems(view.items);
  $("empty").hidden = view.items.length > 0;
  const back = !$("away").hidden && !view.away;
  $("away").hidden = !view.away;
  if (back) sendAgain();
  $("more").hidden = !view.more;
  $("count").textContent = view.on_their_way === 1 ? "1 item is" : `${view.on_their_way} items are`;
  $("waiting").hidden = view.on_their_way === 0;
  $("stopped").hidden = view.handlers.save.running;
  $("dead-count").textContent = view.dead === 1 ? "1 message" : `${view.dead} messages`;
  $("dead").hidden = view.dead === 0;
  for (const [name, handler] of Object.entries(view.handlers)) {
    const line = document.querySelector(`[data-handler="${name}"]`);
    line.querySelector("form").action = `/handlers/${name}/${handler.running ? "stop" : "start"}`;
    line.querySelector(".switch").setAttribute("aria-checked", handler.running);
    line.querySelector(".problem").textContent = handler.problem ?? "";
  }
}

// A row stays the same element while its item changes, so that the focus stays where it is.
function showItems(items) {
  const list = $("items");
  const old = new Map([...list.children].map((row) => [row.dataset.id, row]));
  items.forEach((item, place) => {
    const row = old.get(item.id) ?? $("row").content.firstElementChild.cloneNode(true);
    old.delete(item.id);
    fill(row, item);
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
  for (const row of old.values()) {
    const hadFocus = row.contains(document.activeElement);
    row.remove();
    if (hadFocus) $("item").focus();
  }
}

function fill(row, item) {
  row.dataset.id = item.id;
  row.dataset.state = item.state;
  row.toggleAttribute("data-removed", item.removed);
  row.querySelector(".text").textContent = item.item;
  const [done, remove] = row.querySelectorAll("form");
  done.action = `/todo/${encodeURIComponent(item.id)}/done`;
  done.elements.done.value = !item.done;
  const tick = row.querySelector(".tick");
  tick.setAttribute("aria-checked", item.done);
  tick.setAttribute("aria-label", `Done: ${item.item}`);
  tick.disabled = !item.saved;
  remove.action = `/todo/${encodeURIComponent(item.id)}/remove`;
  const cross = row.querySelector(".remove");
  cross.setAttribute("aria-label", `Remove: ${item.item}`);
  cross.disabled = !item.saved && item.state !== "lost";
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
}

// An item that nobody has answered for stays in its field and is sent again, under the id that it had: whether it
// arrived the first time or not, it is added once.
let unsent;

function sendAgain() {
  clearTimeout(unsent?.timer);
  if (unsent && $("item").value === unsent.typed) $("new").requestSubmit();
  else notice("");
}

// Every form of the page, the same way as the browser would send it.
document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  const typed = $("item").value;
  const body = new URLSearchParams(new FormData(form));
  if (form.id === "new") {
    clearTimeout(unsent?.timer);
    if (unsent?.typed !== typed) unsent = { typed, id: crypto.randomUUID() };
    body.set("id", unsent.id);
  }
  let status = 503;
  let said = "the page's server does not answer";
  try {
    const response = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body });
    status = response.status;
    if (!response.ok) said = (await response.json()).error;
  } catch {}
  form.ariaBusy = "false";
  if (form.id === "new" && status === 503) {
    notice("Not added yet: no answer came. It is sent again by itself, and added only once.");
    unsent.timer = setTimeout(sendAgain, 2000);
  } else {
    if (form.id === "new") unsent = undefined;
    notice(status < 300 ? "" : said.charAt(0).toUpperCase() + said.slice(1));
    if (form.id === "new" && status < 300 && $("item").value === typed) $("item").value = "";
  }
  refresh();
});

function listen() {
  const events = new EventSource("/events");
  events.onopen = () => {
    if (!$("link").hidden) sendAgain();
    $("link").hidden = true;
    refresh();
  };
  events.onerror = () => {
    $("link").hidden = false;
    // The browser connects again by itself, unless the server answered with an error.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  for (const name of ["waiting", "handlers", "dead", "away"]) events.addEventListener(name, refresh);
  events.addEventListener("itemsaved", (event) => {
    const saved = JSON.parse(event.data);
    $("said").textContent = `${saved.removed ? "Removed" : "Saved"}: ${saved.item}`;
    refresh();
  });
}

listen();
