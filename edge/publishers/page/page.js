// Keeps the last minute of updates, and shows it: text here, pictures in drawing.js.

import { drawDelay, drawTimeline, drawWheel, level, spanOf, timeAt } from "./drawing.js";

const KEPT_S = 60, LATE_S = 1.5, RETRY_MS = 1000;
const find = id => document.getElementById(id);
const updates = []; // {time, message, face, heard}, oldest first
let wheel = {}, arrived = 0, cursor = null, drawing = false;

function connect() {
  const source = new EventSource(`events${location.search}`);
  source.addEventListener("hello", event => {
    const hello = JSON.parse(event.data);
    wheel = hello.wheel;
    updates.length = 0;
    hello.history.forEach(keep);
    find("preview").src = `camera.mjpg?${new URLSearchParams([...new URLSearchParams(location.search), ["at", Date.now()]])}`;
    setLink("waiting", "connected, no update yet");
    show();
  });
  source.onmessage = event => {
    keep(JSON.parse(event.data));
    arrived = Date.now();
    setLink("live", "live");
    show();
  };
  source.addEventListener("end", () => setLink("gone", "the run has ended"));
  source.onerror = () => {
    if (document.body.dataset.link !== "gone") setLink("gone", "no connection");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS); // the browser itself gave up
  };
}

function keep(update) {
  update.time = update.message.captured_ns / 1e9;
  updates.push(update);
  while (updates[0].time < update.time - KEPT_S) updates.shift();
}

function setLink(link, text) {
  document.body.dataset.link = link;
  find("link").textContent = text;
}

function show() {
  if (!drawing && updates.length) requestAnimationFrame(draw);
  drawing = updates.length > 0;
}

function draw() {
  drawing = false;
  const { message, face, heard } = updates.at(-1);
  showState(message);
  showCamera(message, face);
  showHealth(message, heard);
  showChanges();
  drawTimeline(find("timeline"), updates, wheel, cursor);
  drawWheel(find("wheel"), updates, wheel);
  showReadout();
}

const tidy = reason => reason.replaceAll(">=", "≥");
const seconds = s => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`);

function showState(message) {
  find("seq").textContent = `update ${message.seq}`;
  find("engine").textContent = `${message.bundle} on ${message.engine}`;
  find("state").textContent = message.state;
  find("state").dataset.state = message.state;
  const sure = message.confidence === null ? "" : `, ${Math.round(100 * message.confidence)} % sure`;
  find("emotion").textContent = `for ${seconds(message.since_s)}${sure}${message.emotion ? `, mostly ${message.emotion}` : ""}`;
  find("confidence").dataset.state = message.state;
  find("confidence").setAttribute("aria-valuenow", message.confidence ?? 0);
  find("confidence").firstElementChild.style.width = `${100 * (message.confidence ?? 0)}%`;
  find("reason").textContent = tidy(message.reason);
  const affect = value => (value >= 0 ? "+" : "") + value.toFixed(2);
  find("affect").textContent =
    message.valence === null ? "not known" : `valence ${affect(message.valence)}, arousal ${affect(message.arousal)}`;
}

const BLIND = { lost: "no face found", dark: "too dark", "no image": "no image", off: "no camera in use" };

function showCamera(message, face) {
  find("blind").textContent = BLIND[message.face] ?? "";
  find("preview").hidden = !face;
  const [width, height] = face ? face.image_px : [];
  const found = face && face.found;
  find("quality").textContent = !face
    ? ""
    : `${width} × ${height}` + (found ? `, face ${found.height_px} px high, ${Math.round(100 * found.score)} % sure` : "");
}

const HEALTH = {
  source: { "audio+video": "good", video: "good", audio: "warn", none: "bad" },
  face: { ok: "good", lost: "warn", dark: "warn", "no image": "bad", off: "off" },
  voice: { speech: "good", silent: "good", lost: "bad", off: "off" },
};
const WORDS = {
  source: { "audio+video": "face and voice", video: "face alone", audio: "voice alone", none: "nothing" },
  face: { ok: "face found", lost: "no face found", dark: "too dark", "no image": "no image", off: "not in use" },
  voice: { speech: "speech", silent: "no speech", lost: "no sound", off: "not in use" },
};

const TROUBLE = {
  camera: { lost: "camera lost", frozen: "camera frozen", slow: "camera too slow", black: "black picture" },
  microphone: { lost: "microphone lost", silent: "muted", "wrong rate": "wrong rate, put right" },
};

function showHealth(message, heard) {
  const { camera, microphone, load } = message.health;
  for (const row of ["source", "face", "voice"]) tell(row, WORDS[row][message[row]], HEALTH[row][message[row]]);
  if (camera in TROUBLE.camera) tell("face", TROUBLE.camera[camera], "bad");
  if (microphone in TROUBLE.microphone) tell("voice", TROUBLE.microphone[microphone], "bad");
  const [dbfs, speaking] = heard.at(-1) ?? [null, 0], meter = find("level").querySelector(".meter");
  meter.classList.toggle("speaking", Boolean(speaking));
  meter.firstElementChild.style.width = `${dbfs === null ? 0 : 100 * level(dbfs)}%`;
  find("level").querySelector("b").textContent = dbfs === null ? "" : `${Math.round(dbfs)} dBFS`;
  const { images, audio, updates: late } = message.dropped;
  const lost = `${images} images, ${(audio / 16000).toFixed(1)} s of sound` + (late ? `, ${late} updates` : "");
  tell("dropped", lost, images || audio || late ? "warn" : "good");
  tell("load", load, load === "normal" ? "good" : "warn");
  showDelay(message);
}

function tell(row, text, health) {
  const value = find(row).querySelector("dd");
  value.textContent = text;
  value.dataset.health = health;
}

function showDelay(message) {
  const ages = updates.map(update => update.message.age_ms).filter(age => age !== null).sort((a, b) => a - b);
  const quantile = share => Math.round(ages[Math.min(ages.length - 1, Math.floor(share * ages.length))]);
  find("delay").querySelector("b").textContent = message.age_ms === null ? "" : `${Math.round(message.age_ms)} ms`;
  find("delay").querySelector("small").textContent =
    ages.length ? `median ${quantile(0.5)}, p99 ${quantile(0.99)} ms` : "";
  drawDelay(find("delay").querySelector("canvas"), updates);
}

function showChanges() {
  const now = updates.at(-1).time;
  const changed = updates.filter((update, i) => i && update.message.state !== updates[i - 1].message.state);
  const rows = changed.slice(-3).reverse().map(({ time, message }) => {
    const row = document.createElement("li");
    row.append(...[`${Math.round(now - time)} s ago`, message.state, tidy(message.reason)].map(text => {
      const part = document.createElement("span");
      part.textContent = text;
      return part;
    }));
    row.children[1].dataset.state = message.state;
    return row;
  });
  find("changes").replaceChildren(...rows);
}

function showReadout() {
  const under = cursor === null ? null : updates.findLast(update => update.time <= cursor);
  find("span").textContent = `The last ${spanOf(updates)} s`;
  find("readout").textContent = under
    ? `${(updates.at(-1).time - under.time).toFixed(1)} s ago: ${under.message.state} (${tidy(under.message.reason)})`
    : "";
}

for (const touch of ["pointerdown", "pointermove"])
  find("timeline").addEventListener(touch, event => {
    cursor = timeAt(event.target, event.offsetX, updates);
    show();
  });
find("timeline").addEventListener("pointerleave", () => {
  cursor = null;
  show();
});
window.addEventListener("resize", show);
setInterval(() => {
  const silent_s = (Date.now() - arrived) / 1000;
  if (arrived && silent_s > LATE_S && ["live", "late"].includes(document.body.dataset.link))
    setLink("late", `no update for ${Math.round(silent_s)} s`);
}, 250);
connect();
