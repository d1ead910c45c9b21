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
