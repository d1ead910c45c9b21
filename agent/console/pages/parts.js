// The parts of the page: each draws its piece of the state. `page.js` says when, and has what they are drawn with.
"use strict";

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
