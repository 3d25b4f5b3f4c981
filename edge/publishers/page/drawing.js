// The canvases: time line, emotion wheel, delay. Each is drawn anew from the updates it is given.

const STATES = ["calm", "joyful", "startled", "agitated", "low", "unknown"];
const style = getComputedStyle(document.documentElement);
const colour = name => style.getPropertyValue(`--${name}`).trim();

// Left and right of the plot stand names and newest values.
const LEFT = 78, RIGHT = 54, BAND = 30, SOUND = 40, AXIS = 24, GAP = 10;
const FLOOR_DBFS = -60;

// The time that is shown, in whole tens of seconds: what there is, up to a minute.
export function spanOf(updates) {
  const told_s = updates.length ? updates.at(-1).time - updates[0].time : 0;
  return Math.min(60, Math.max(10, 10 * Math.ceil(told_s / 10)));
}

export function level(dbfs) {
  return Math.min(1, Math.max(0, 1 - dbfs / FLOOR_DBFS));
}

// A cleared context in CSS pixels, sharp on any screen.
function contextOf(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  context.lineJoin = "round";
  return { context, width, height };
}

function write(context, text, x, y, fill, align = "left") {
  context.fillStyle = fill;
  context.textAlign = align;
  context.fillText(text, x, y);
}

// Time in seconds that lies under x, or null beside the plot.
export function timeAt(canvas, x, updates) {
  const width = canvas.clientWidth - LEFT - RIGHT;
  if (!updates.length || x < LEFT || x > LEFT + width) return null;
  return updates.at(-1).time - spanOf(updates) * (1 - (x - LEFT) / width);
}

export function drawTimeline(canvas, updates, wheel, cursor) {
  const { context, width, height } = contextOf(canvas), emotions = emotionsOf(updates, wheel);
  const plot = width - LEFT - RIGHT, end = updates.at(-1).time, span = spanOf(updates);
  const x = time => LEFT + plot * (1 - (end - time) / span);
  const soundBase = height - AXIS, lane = (soundBase - SOUND - 2 * GAP - BAND) / emotions.length;
  const laneBase = i => BAND + GAP + (i + 1) * lane;
  drawGrid(context, plot, span, soundBase);
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, plot, height);
  context.clip();
  drawStates(context, updates, x);
  emotions.forEach((emotion, i) => drawProbability(context, updates, emotion, wheel, x, laneBase(i), lane - 4));
  drawSound(context, updates, x, soundBase);
  context.restore();
  drawNames(context, updates, emotions, width, i => laneBase(i) - lane / 2 + 2, soundBase - SOUND / 2);
  if (cursor !== null) {
    context.fillStyle = colour("text");
    context.fillRect(Math.round(x(cursor)), 0, 1, soundBase);
  }
}

// The bundle's labels, those of one state beside each other.
function emotionsOf(updates, wheel) {
  const told = updates.findLast(update => update.message.probabilities);
  const emotions = Object.keys(told ? told.message.probabilities : wheel);
  return emotions.sort((a, b) => STATES.indexOf(wheel[a].state) - STATES.indexOf(wheel[b].state));
}

function drawGrid(context, plot, span, base) {
  for (let back = 0; back <= span; back += span > 20 ? 10 : 2) {
    const at = LEFT + plot * (1 - back / span);
    context.fillStyle = colour("line");
    context.fillRect(Math.round(at), 0, 1, base);
    const name = back ? `-${back} s` : "now";
    if (plot > 400 || back % 4 === 0) write(context, name, at, base + AXIS / 2 + 2, colour("muted"), "center");
  }
}

function drawStates(context, updates, x) {
  let begin = 0;
  for (let i = 1; i <= updates.length; i++) {
    const state = updates[begin].message.state;
    if (i < updates.length && updates[i].message.state === state && !isGap(updates, i)) continue;
    const from = x(updates[begin].time), to = x(i < updates.length && !isGap(updates, i) ? updates[i].time : updates[i - 1].time);
    context.globalAlpha = state === "unknown" ? 0.3 : 1;
    context.fillStyle = colour(state);
    context.fillRect(from, 2, Math.max(1, to - from - 1), BAND - 4);
    context.globalAlpha = 1;
    const visible = Math.max(from, LEFT);
    if (to - visible > context.measureText(state).width + 16)
      write(context, state, visible + 8, BAND / 2, colour(state === "unknown" ? "text" : "ground"));
    begin = i;
  }
}

const isGap = (updates, i) => updates[i].time - updates[i - 1].time > 0.5;

function drawProbability(context, updates, emotion, wheel, x, base, height) {
  const shade = colour(wheel[emotion].state);
  context.fillStyle = colour("line");
  context.fillRect(LEFT, base, context.canvas.clientWidth, 1);
  let run = [];
  const finish = () => {
    if (run.length > 1) fillUnder(context, run, base, shade);
    run = [];
  };
  updates.forEach((update, i) => {
    if (i && isGap(updates, i)) finish();
    const { probabilities } = update.message;
    if (probabilities) run.push([x(update.time), base - height * probabilities[emotion]]);
    else finish();
  });
  finish();
}

function fillUnder(context, points, base, shade) {
  context.beginPath();
  points.forEach(([x, y]) => context.lineTo(x, y));
  context.strokeStyle = shade;
  context.lineWidth = 1.5;
  context.stroke();
  context.lineTo(points.at(-1)[0], base);
  context.lineTo(points[0][0], base);
  context.globalAlpha = 0.28;
  context.fillStyle = shade;
  context.fill();
  context.globalAlpha = 1;
}

function drawSound(context, updates, x, base) {
  updates.forEach((update, i) => {
    const from = i && !isGap(updates, i) ? x(updates[i - 1].time) : x(update.time - 0.2);
    const step = (x(update.time) - from) / update.heard.length;
    update.heard.forEach(([dbfs, speaking], part) => {
      const height = Math.max(1, level(dbfs) * (SOUND - 4));
      context.fillStyle = colour(speaking ? "low" : "unknown");
      context.fillRect(from + part * step, base - height, Math.max(1, step - 1), height);
    });
  });
}

function drawNames(context, updates, emotions, width, middleOf, soundMiddle) {
  const { message, heard } = updates.at(-1), newest = message.probabilities;
  const most = newest && Math.max(...Object.values(newest));
  write(context, "state", 0, BAND / 2, colour("muted"));
  emotions.forEach((emotion, i) => {
    const middle = middleOf(i), strong = newest && newest[emotion] === most;
    write(context, emotion, 0, middle, colour(strong ? "text" : "muted"));
    if (newest) write(context, newest[emotion].toFixed(2), width, middle, colour(strong ? "text" : "muted"), "right");
  });
  write(context, "sound", 0, soundMiddle, colour("muted"));
  if (heard.some(([, speech]) => speech)) write(context, "speech", width, soundMiddle, colour("low"), "right");
}

export function drawWheel(canvas, updates, wheel) {
  const { context, width, height } = contextOf(canvas);
  const radius = Math.min(width - 120, height - 44) / 2, cx = width / 2, cy = height / 2;
  const place = ([valence, arousal]) => [cx + radius * valence, cy - radius * arousal];
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  for (const share of [0.5, 1]) {
    context.beginPath();
    context.arc(cx, cy, radius * share, 0, 2 * Math.PI);
    context.stroke();
  }
  context.fillStyle = colour("line");
  context.fillRect(cx - radius, cy, 2 * radius, 1);
  context.fillRect(cx, cy - radius, 1, 2 * radius);
  for (const [emotion, { at, state }] of Object.entries(wheel)) drawEmotion(context, emotion, at, state, place);
  const trail = updates.slice(-25).filter(({ message }) => message.valence !== null);
  trail.forEach(({ message }, i) => {
    const newest = i === trail.length - 1, [x, y] = place([message.valence, message.arousal]);
    context.globalAlpha = newest ? 1 : 0.08 + (0.4 * i) / trail.length;
    context.fillStyle = colour(newest ? "text" : message.state);
    context.beginPath();
    context.arc(x, y, newest ? 7 : 4, 0, 2 * Math.PI);
    context.fill();
  });
  context.globalAlpha = 1;
}

function drawEmotion(context, emotion, at, state, place) {
  const [x, y] = place(at), centre = Math.hypot(...at) < 0.1;
  context.fillStyle = colour(state);
  context.beginPath();
  context.arc(x, y, 3, 0, 2 * Math.PI);
  context.fill();
  const align = Math.abs(at[0]) < 0.2 ? "center" : at[0] > 0 ? "left" : "right";
  const aside = align === "center" ? 0 : 9 * Math.sign(at[0]), above = align === "center" && !centre ? -14 : centre ? 14 : 0;
  write(context, emotion, x + aside, y + above, colour("muted"), align);
}

export function drawDelay(canvas, updates) {
  const { context, width, height } = contextOf(canvas);
  if (!updates.length) return;
  const ages = updates.map(({ message }) => message.age_ms), most = Math.max(200, ...ages.map(age => age ?? 0));
  const end = updates.at(-1).time, span = spanOf(updates);
  context.strokeStyle = colour("text");
  context.lineWidth = 1.25;
  context.beginPath();
  updates.forEach(({ time }, i) => {
    if (ages[i] === null) return;
    const x = width * (1 - (end - time) / span), y = height - 2 - (height - 4) * (ages[i] / most);
    i && ages[i - 1] !== null ? context.lineTo(x, y) : context.moveTo(x, y);
  });
  context.stroke();
}
