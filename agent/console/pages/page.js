// The driver's page: shows the state that /api/stream sends and turns touches into actions.
// Everything that came from outside (labels, addresses, messages) enters the page as text, never as markup.
"use strict";

const TONES = { // [hertz, seconds] one after the other; 0 Hz is a pause
  good: [[1320, 0.12]],
  repeat: [[880, 0.09], [0, 0.06], [880, 0.09]],
  bad: [[220, 0.45]],
  attention: [[660, 0.14], [880, 0.2]],
};
const SIGNS = { good: "✓", repeat: "↻", bad: "✕", attention: "!" };
const SETTLE_MS = 600;
const TYPING_MPS = 2;
const AGAIN_MS = 2000;

const FOUND = { ok: "✓", warning: "!", fault: "✕" };

const $ = (id) => document.getElementById(id);
const words = (code) => {
  const text = String(code).replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};

function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// --- talking to the unit ---------------------------------------------------------------------------------------

let state = null;
let token = null;

async function post(action, fields, again = true) {
  if (!token) {
    token = (await (await fetch("/api/session")).json()).token;
  }
  const response = await fetch("/api/actions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kerbside-Token": token },
    body: JSON.stringify({ action, ...fields }),
  });
  if (response.status === 403 && again) { // the agent was restarted and has another token
    token = null;
    return post(action, fields, false);
  }
  return response;
}

async function act(action, fields = {}) {
  if (ASK_FIRST.includes(action) && !(await confirmed(action, fields))) {
    return false;
  }
  say("");
  try {
    const response = await post(action, fields);
    const answer = await response.json();
    if (!response.ok) {
      say(answer.message || answer.reason);
    }
    return response.ok;
  } catch {
    say("The unit does not answer.");
    return false;
  }
}

function say(text) {
  $("answer").textContent = text;
  $("answer").hidden = !text;
}

function confirmed(action, fields) {
  const offer = (state?.offers ?? []).find((one) => one.offer_id === fields.offer_id);
  const label = ACTIONS[action]?.[0] ?? words(action);
  $("question").textContent = offer ? `${label}: ${offerText(offer)}?` : `${label}?`;
  $("confirm").returnValue = "no";
  $("confirm").showModal();
  return new Promise((resolve) => {
    $("confirm").addEventListener("close", () => resolve($("confirm").returnValue === "yes"), { once: true });
  });
}

function follow() {
  const source = new EventSource("/api/stream");
  let first = true;
  source.onmessage = (event) => {
    const before = state;
    state = JSON.parse(event.data);
    away(false);
    render();
    // What was said while nobody listened is shown, not sounded: the next scan must not be mistaken for it.
    if (!first && key(before?.feedback) !== key(state.feedback) && state.feedback) {
      sound(state.feedback);
    }
    first = false;
  };
  source.onerror = () => {
    away(true);
    first = true;
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(follow, AGAIN_MS);
    }
  };
}

function away(gone) {
  $("away").hidden = !gone;
  document.body.classList.toggle("away", gone);
}

// --- sound -----------------------------------------------------------------------------------------------------

let audio = null;

function listen() { // a browser gives sound only after a touch, unless it was started as a kiosk that may
  audio ??= new AudioContext();
  audio.resume().then(() => { $("sound").hidden = true; });
  $("sound").hidden = audio.state === "running";
}

function sound(feedback) {
  if (audio?.state === "running") {
    let at = audio.currentTime + 0.01;
    for (const [hertz, seconds] of TONES[feedback.tone] ?? []) {
      if (hertz) {
        const gain = new GainNode(audio, { gain: 0 });
        const tone = new OscillatorNode(audio, { frequency: hertz, type: "triangle" });
        gain.gain.setTargetAtTime(0.6, at, 0.004);
        gain.gain.setTargetAtTime(0, at + seconds - 0.02, 0.006);
        tone.connect(gain).connect(audio.destination);
        tone.start(at);
        tone.stop(at + seconds + 0.05);
      }
      at += seconds;
    }
    if (feedback.speech && "speechSynthesis" in window) {
      speechSynthesis.cancel();
      const spoken = new SpeechSynthesisUtterance(feedback.speech);
      spoken.lang = document.documentElement.lang;
      speechSynthesis.speak(spoken);
    }
  }
}

// --- showing ---------------------------------------------------------------------------------------------------

const key = (value) => JSON.stringify(value ?? null);
const shown = new Map();

// Redraws a part of the page only when what it shows has changed: focus, typing and screen readers are left alone.
function part(name, value, draw) {
  const now = key(value);
  if (shown.get(name) !== now) {
    shown.set(name, now);
    try {
      draw(value);
    } catch (fault) { // the other parts of the page are drawn
      console.error(name, fault);
    }
  }
}

function render() {
  const { block } = state, unit = state.unit ?? {}, stops = state.stops ?? [], parcels = state.parcels ?? [];
  part("link", [unit.id, unit.online, unit.backlog, unit.version, unit.clock?.trust], () => drawUnit(unit));
  part("block", block && [block.block_id, block.state, block.hours], () => {
    const about = block ? [block.block_id, words(block.state), block.hours] : ["No block"];
    $("block").textContent = about.filter(Boolean).join(" · ");
  });
  part("driver", state.driver, (driver) => {
    $("driver").textContent = driver ? driver.name ?? driver.driver_id ?? "" : "";
  });
  part("feedback", state.feedback, drawFeedback);
  part("task", [state.prompt, state.current_stop, instructions()], drawTask);
  const { code, actions = [], params } = state.prompt ?? {};
  part("primary", [code, actions, params?.stop_id, params?.parcel_ids], drawPrimary); // counts go by without redrawing it
  part("choices", state.prompt?.params?.choices, drawChoices);
  part("offers", state.offers, drawOffers);
  part("conflicts", state.conflicts, drawConflicts);
  part("held", state.held, drawHeld);
  part("counts", block?.counts, drawCounts);
  part("stops", [stops, stopId()], drawStops);
  part("messages", state.messages, drawMessages);
  part("notes", state.notes, drawNotes);
  part("news", [state.advisories, state.recipient_feedback, state.roster], drawNews);
  part("position", state.position, drawPosition);
  part("parts", Object.entries(unit.parts ?? {}).map(([name, one]) => [name, one.state, one.reason, clock(one.since)]),
    drawParts);
  part("fields", [[...parcels, ...state.held ?? []].map((parcel) => [parcel.parcel_id, parcel.state]), stopId()], () => {
    if (!$("more").open) {
      drawFields();
    }
  });
}

function instructions() {
  const here = (state.parcels ?? []).filter((parcel) => parcel.stop_id === stopId() && parcel.instruction?.text);
  return [...new Set(here.map((parcel) => parcel.instruction.text))];
}

const said = (who) => (typeof who === "string" ? who : Object.values(who).filter(Boolean).join(", "));

const stopId = () => state.current_stop?.stop_id ?? null;

function drawUnit(unit) {
  document.title = `Kerbside ${unit.id ?? ""}`;
  $("unit").textContent = unit.id ?? "Kerbside";
  const waiting = unit.backlog?.events ?? 0;
  $("link").className = `pill ${unit.online ? "good" : "bad"}`;
  $("link").textContent = (unit.online ? "Online" : "Offline: everything is kept") + (waiting ? `, ${waiting} waiting` : "");
  const trust = { gps: "from GPS", ntp: "from the network", rtc: "from its battery", unsynced: "not set yet" };
  $("version").textContent = `Kerbside ${unit.version ?? ""} · clock ${trust[unit.clock?.trust] ?? "unknown"}`;
}

function drawFeedback(feedback) {
  const box = $("feedback");
  box.className = feedback?.tone ?? "";
  if (!feedback) {
    box.replaceChildren("Nothing scanned yet");
    return;
  }
  const place = `${feedback.section} – ${feedback.sequence}`;
  const leads = feedback.text.startsWith(place); // where the parcel goes in the vehicle is read from across the bay
  const text = leads ? feedback.text.slice(place.length).replace(/^ · /, "") : feedback.text;
  box.replaceChildren(
    el("span", { className: "sign", ariaHidden: "true" }, SIGNS[feedback.tone] ?? ""),
    leads ? el("span", { className: "place" }, place) : "",
    el("span", {}, text, feedback.time ? el("time", {}, clock(feedback.time)) : ""),
  );
}

function drawTask([prompt, stop, instructions]) {
  const details = prompt?.params?.stop_id && stop?.stop_id === prompt.params.stop_id
    ? [stopText(stop), stop.recipient?.name, ...instructions, stop.neighbour && `Neighbour: ${said(stop.neighbour)}`,
      stop.access_codes?.length && `Code: ${stop.access_codes.join(", ")}`] : [];
  const text = prompt ? prompt.text ?? words(prompt.code) : "";
  const more = details.filter((detail) => detail && !text.includes(detail));
  $("task").replaceChildren(text, ...more.map((detail) => el("small", {}, detail)));
}

function drawPrimary([, actions]) {
  const [first, ...others] = actions.filter((action) => Object.hasOwn(ACTIONS, action) || action === "scan");
  $("primary").replaceChildren();
  $("also").replaceChildren();
  const leads = first && first !== "scan" && !NEVER_FIRST.includes(first);
  if (leads) {
    $("primary").dataset.action = first;
    const [label, ...fields] = ACTIONS[first];
    const needed = (wanted) => fields.filter(([name]) => name.endsWith("?") !== wanted).map(field);
    $("primary").append(
      el("div", { className: "fields" }, ...needed(true)),
      el("div", { className: "fields optional", hidden: true }, ...needed(false)),
      settling(el("button", { type: "submit", className: "primary" }, label)),
    );
  }
  for (const action of leads ? others : [first, ...others]) {
    if (action && action !== "scan") {
      const [label, ...fields] = ACTIONS[action];
      $("also").append(settling(button(label, () => (fields.length ? ask(action) : act(action)))));
    }
  }
}

// A button that has just appeared under a finger must not take the touch that was meant for another.
function settling(made) {
  made.disabled = true;
  setTimeout(() => { made.disabled = false; }, SETTLE_MS);
  return made;
}

function ask(action) {
  $("more").open = true;
  $("action").value = action;
  drawFields();
  $("other").scrollIntoView({ block: "nearest" });
}

function drawChoices(choices) {
  const list = Array.isArray(choices) ? choices : [];
  $("choices").hidden = !list.length;
  $("choices").replaceChildren(...list.map(({ parcel_id: id }) =>
    settling(button(parcelText(id), () => act("choose", { code: id })))));
}

function offerText(offer) {
  const pay = offer.pay ? `${offer.pay.amount} ${offer.pay.currency}` : "";
  const distance = offer.distance_m ? `${(offer.distance_m / 1000).toFixed(1)} km away` : "";
  return [offer.place, offer.hours, distance, pay, offer.kind].filter(Boolean).join(", ");
}

function drawOffers(offers) {
  const open = (offers ?? []).filter((offer) => !offer.requested_at);
  $("offers").hidden = !open.length;
  $("offers").replaceChildren(...open.map((offer) => el("div", { className: "row" },
    el("p", {}, offerText(offer)),
    button("Accept …", () => act("accept_offer", { offer_id: offer.offer_id })),
    button("Decline …", () => act("decline_offer", { offer_id: offer.offer_id })))));
}

function drawConflicts(conflicts) {
  const list = conflicts ?? [];
  $("conflicts").hidden = !list.length;
  $("conflicts").replaceChildren(...list.map((one) => el("div", { className: "row" },
    el("p", {}, [`Block ${one.block_id}`, one.hours, `block ${one.other_block_id} is in its way`].filter(Boolean).join(", ")),
    button("Give it back …", () => act("give_back", { block_id: one.block_id })))));
}

function drawHeld(held) {
  const list = held ?? [];
  $("held").hidden = !list.length;
  $("held").replaceChildren(...list.map((parcel) => el("p", { className: "row" },
    [parcel.tracking_number, `block ${parcel.block_id}`, words(parcel.state), parcel.site].filter(Boolean).join(", "))));
}

function drawCounts(counts) {
  const entries = Object.entries(counts ?? {}).filter(([, count]) => count);
  $("counts").replaceChildren(...entries.map(([name, count]) =>
    el("div", {}, el("dt", {}, words(name)), el("dd", {}, String(count)))));
  if (!entries.length) {
    $("counts").append(el("p", { className: "none" }, "None"));
  }
}

function stopText({ address, site, kind }) {
  const where = typeof address === "string" ? address : [address?.line1, address?.city].filter(Boolean).join(", ");
  return where || site || words(kind);
}

function stopNote({ kind, hours }) {
  return [kind === "delivery" ? "" : words(kind), hours].filter(Boolean).join(" · ");
}

function drawStops([stops, current]) {
  const ended = stops.filter((stop) => STOP_ENDED.includes(stop.state));
  $("progress").textContent = stops.length ? `${ended.length} of ${stops.length} done` : "";
  $("stops").replaceChildren(...stops.map((stop) => el("li",
    { className: stop.stop_id === current ? "current" : STOP_ENDED.includes(stop.state) ? "ended" : "" },
    el("span", { className: "number" }, String(stop.sequence ?? "")),
    el("span", {}, stopText(stop), el("small", {}, stopNote(stop))),
    el("span", {}, words(stop.state)))));
  const row = $("stops").querySelector(".current");
  row?.setAttribute("aria-current", "step");
  if (row) { // only the list scrolls, never the page under a finger
    $("stops").scrollTop = row.offsetTop - $("stops").offsetTop - $("stops").clientHeight / 3;
  }
}

function drawMessages(messages) {
  const list = (messages ?? []).slice(-20).reverse();
  $("messages").replaceChildren(...list.map((message) => el("li", { className: "row" },
    el("span", {}, message.text),
    message.needs_ack && !message.acknowledged
      ? button("Read", () => act("acknowledge", { message_id: message.message_id })) : "")));
  if (!list.length) {
    $("messages").append(el("li", { className: "none" }, "None"));
  }
}

function drawNotes(notes) {
  const list = (notes ?? []).slice().reverse();
  $("notes").replaceChildren(...list.map(({ item, text }) => el("li", {}, `${words(item)}: ${text}`)));
  $("noted").hidden = !list.length;
}

// What the unit was told and only shows: how recipients rated, what is said about the roads, who may drive.
function drawNews([advisories, feedback, roster]) {
  const list = [
    ...(feedback ?? []).slice(-20).reverse().map(({ parcel_id: id, rating, text }) =>
      [`Recipient${id ? ` of ${parcelText(id)}` : ""}`, [rating ?? null, text].filter((one) => one ?? null).join(": ")]),
    ...(advisories ?? []).map(({ advisory_id: id, format, hours }) => [`Roads: ${id}`, [words(format), hours].filter(Boolean).join(", ")]),
    ...(roster ? [["Drivers", `${roster.drivers} on the list`]] : []),
  ];
  $("news").replaceChildren(...list.map(([what, said]) => el("li", { className: "row" }, el("span", {}, what, el("small", {}, said)))));
  if (!list.length) {
    $("news").append(el("li", { className: "none" }, "None"));
  }
}

function drawPosition(position) {
  const known = position && position.latitude !== null && position.latitude !== undefined;
  const parts = known ? [`${position.latitude.toFixed(5)}, ${position.longitude.toFixed(5)}`] : ["No position"];
  if (known && position.accuracy_m) {
    parts.push(`± ${Math.round(position.accuracy_m)} m`);
  }
  if (known && position.age_s > 5) {
    parts.push(`${Math.round(position.age_s)} s old`);
  }
  if (known && position.speed_mps > 0.5) {
    parts.push(`${Math.round(position.speed_mps * 3.6)} km/h`);
  }
  $("position").textContent = parts.join(" · ");
  const driving = known && position.speed_mps > TYPING_MPS;
  $("moving").hidden = !driving;
  for (const control of $("scan").querySelectorAll("input, button")) {
    control.disabled = driving;
  }
}

// The same findings as `kerbside doctor` prints, when somebody asks for them.
async function checkUp() {
  const button = $("check"), list = $("findings");
  button.disabled = true;
  list.replaceChildren(el("li", {}, "The unit is being checked …"));
  try {
    const { checks } = await (await fetch("/api/checkup")).json();
    list.replaceChildren(...checks.map((one) => el("li", { className: one.state },
      `${FOUND[one.state]} ${words(one.name)}: ${one.message}`, one.advice && el("small", {}, ` → ${one.advice}`))));
  } catch {
    list.replaceChildren(el("li", { className: "fault" }, "The unit did not answer. Try again."));
  }
  button.disabled = false;
}

function drawParts(parts) {
  const troubled = ([, condition]) => (condition === "ready" ? 1 : 0);
  const list = parts.sort((a, b) => troubled(a) - troubled(b) || a[0].localeCompare(b[0]));
  $("parts").replaceChildren(...list.map(([name, condition, reason, since]) => el("li", { className: condition },
    el("span", {}, name), el("span", {}, condition === "ready" ? words(condition) : `${words(condition)} since ${since}`),
    reason ? el("small", {}, reason) : "")));
}

// In the zone of the block, and with the day when that is not today.
function clock(text) {
  const time = new Date(text ?? NaN), now = new Date(state.unit?.clock?.time ?? NaN);
  if (Number.isNaN(time.getTime())) {
    return "";
  }
  const zone = { timeZone: known(state.block?.timezone) };
  const day = (at) => at.toLocaleDateString([], { ...zone, weekday: "short", day: "numeric", month: "short" });
  const today = !Number.isNaN(now.getTime()) && day(now) === day(time);
  return [today ? "" : day(time), time.toLocaleTimeString([], { ...zone, hour: "2-digit", minute: "2-digit", hourCycle: "h23" })]
    .filter(Boolean).join(" ");
}

function known(zone) {
  try {
    return zone ? new Intl.DateTimeFormat([], { timeZone: zone }).resolvedOptions().timeZone : undefined;
  } catch { // a name that this browser does not know: its own zone
    return undefined;
  }
}

// --- forms -----------------------------------------------------------------------------------------------------

function button(label, press) {
  const made = el("button", { type: "button" }, label);
  made.addEventListener("click", async () => {
    made.disabled = true;
    await press();
    made.disabled = false;
  });
  return made;
}

function parcelText(parcelId) {
  const parcel = [...state.parcels ?? [], ...state.held ?? []].find((one) => one.parcel_id === parcelId);
  const place = [parcel?.section, parcel?.sequence].filter((one) => one ?? null).join(" – ");
  return parcel ? [place, parcel.tracking_number].filter(Boolean).join(" · ") : String(parcelId);
}

function options(kind, allowed) {
  switch (kind) {
    case "choice":
      return allowed.map((value) => [value, words(value)]);
    case "stop":
      return (state?.stops ?? []).filter((stop) => stop.state === "PLANNED")
        .map((stop) => [stop.stop_id, `${stop.sequence ?? ""} ${stopText(stop)}`]);
    case "block":
      return state?.block ? [[state.block.block_id, state.block.block_id]] : [];
    case "site":
      return [...new Map([...state?.stops ?? [], ...state?.held ?? []].filter((one) => one.site_id)
        .map((one) => [one.site_id, one.site]))];
    default: // the parcels of the current stop first: it is mostly about one of them
      return [...new Map([...state?.parcels ?? [], ...state?.held ?? []].filter((parcel) => allowed.includes(parcel.state))
        .sort((a, b) => (b.stop_id === stopId()) - (a.stop_id === stopId()))
        .map((parcel) => [parcel.parcel_id, parcelText(parcel.parcel_id)]))];
  }
}

function field([name, label, kind, allowed]) {
  const required = !name.endsWith("?");
  const common = { name: name.replace("?", ""), required };
  let input;
  if (kind === "text") {
    input = el("input", { ...common, maxLength: 200 });
  } else {
    const offered = options(kind, allowed);
    input = el("select", common, el("option", { value: "" }, required ? "Choose …" : "–"),
      ...offered.map(([value, text]) => el("option", { value }, text)));
    const meant = state?.prompt?.params?.[common.name];
    const only = kind !== "choice" && required && offered.length === 1;
    input.value = only ? offered[0][0] : offered.some(([value]) => value === meant) ? meant : "";
  }
  input.dataset.kind = kind;
  return el("label", {}, label, input);
}

function filled(form) {
  const values = {};
  for (const input of form.querySelectorAll("[data-kind]")) {
    if (input.value !== "") {
      values[input.name] = input.dataset.kind === "parcels" ? [input.value] : input.value;
    }
  }
  return values;
}

function drawFields() {
  $("fields").className = "fields";
  $("fields").replaceChildren(...(ACTIONS[$("action").value] ?? []).slice(1).map(field));
}

$("action").append(...Object.entries(ACTIONS).map(([name, [label]]) => el("option", { value: name }, label)));
$("action").addEventListener("change", drawFields);
$("more").addEventListener("toggle", drawFields);
$("other").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await act($("action").value, filled($("other")))) {
    $("more").open = false;
  }
});
$("scan").addEventListener("submit", async (event) => {
  event.preventDefault();
  const code = $("code").value.trim();
  if (code) { // a refusal is a feedback too and is shown there, so the field is free for the next number either way
    await act("scan", { code });
    $("code").value = "";
    $("code").focus();
  }
});
$("primary").addEventListener("submit", async (event) => {
  event.preventDefault();
  const optional = $("primary").querySelector(".optional");
  // What the button said is done, whatever the prompt says by now.
  if (!(await act($("primary").dataset.action, filled($("primary"))))) {
    optional.hidden = !optional.hasChildNodes(); // a reason may be all that is missing
  }
});
$("check").addEventListener("click", checkUp);
for (const touch of ["pointerdown", "keydown"]) {
  addEventListener(touch, listen);
}
listen();
follow();
