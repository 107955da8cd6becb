// The page asks for its state every two seconds and draws what has changed.
// What comes from outside becomes text, never markup.

const every = 2000; // ms
const window_ = 60_000; // ms, over which latencies are told
const $ = (id) => document.getElementById(id);

let token = ""; // here and nowhere else
let timer = 0;
let search = "";
let asked = 0; // number of the latest question
let lastAnswer = null; // Date
const history_ = new Map(); // of deployments, by id: samples, oldest first

// --- drawing ---------------------------------------------------------------

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

function kind(node, value) {
  if (node.className !== value) node.className = value;
}

// keyed makes the children of a node those of a list, keeping what is there:
// focus, selection and open things outlive a refresh.
function keyed(parent, items, keyOf, make, update, kept = ":scope > [data-key]") {
  const there = new Map([...parent.querySelectorAll(kept)].map((node) => [node.dataset.key, node]));
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    let node = there.get(key);
    if (!node) {
      node = make(item);
      node.dataset.key = key;
    }
    there.delete(key);
    update(node, item);
    const next = before ? before.nextElementSibling : parent.querySelector(kept);
    if (next !== node) {
      if (before) before.after(node);
      else if (next) next.before(node);
      else parent.append(node);
    }
    before = node;
  }
  for (const node of there.values()) node.remove();
}

const part = (node, name) => node.querySelector(`[data-part="${name}"]`);

// wrapped sets a text that has ids in it, which may break after a slash.
function wrapped(node, value) {
  if (node.textContent === value) return;
  node.replaceChildren(...value.split(/(?<=\/)/).flatMap((piece) => [piece, el("wbr")]));
}

// commandText sets a command whose lines break before an option, if they can.
function commandText(code, value) {
  if (code.textContent === value) return;
  code.replaceChildren(...value.split(/ (?=--)/).flatMap((option, i) => {
    const span = el("span");
    wrapped(span, option);
    return i ? [" ", span] : [span];
  }));
}

function command(value) {
  const code = el("code");
  commandText(code, value);
  const box = el("div", { class: "command" }, code, el("button", { type: "button", class: "copy", text: "Copy" }));
  box.querySelector("button").setAttribute("aria-label", "Copy the command");
  return box;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    text($("said"), "Copied");
    setTimeout(() => { button.textContent = "Copy"; text($("said"), ""); }, 1500);
  } catch { // the browser does not let us: mark it for the keyboard
    getSelection().selectAllChildren(code);
  }
});

// --- words -----------------------------------------------------------------

const whole = new Intl.NumberFormat("en");

function seconds(value) {
  if (value === null) return "–";
  const ms = value * 1000;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

function rate(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
}

function bytes(value) {
  return value < 1 << 30 ? `${Math.round(value / (1 << 20))} MiB` : `${(value / (1 << 30)).toFixed(1)} GiB`;
}

function ago(then, now) {
  const s = Math.max(0, Math.round((now - then) / 1000));
  if (s < 2) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.round(s / 60)} min ago`;
  return then.toLocaleString();
}

const short = (id) => id.slice(0, 8);

// place names a scope by its last type and name, and what holds it.
function place(scope) {
  const parts = scope.split("/").filter(Boolean);
  if (parts.length === 0) return { name: "everything", kind: "root" };
  if (parts.length === 2) return { name: short(parts[1]) + "…", kind: "subscription" };
  const provider = parts.map((p) => p.toLowerCase()).lastIndexOf("providers");
  if (provider < 0) return { name: parts.at(-1), kind: "resource group" };
  const names = [];
  for (let i = provider + 3; i < parts.length; i += 2) names.push(parts[i]);
  const shown = names.filter((name, i) => !(name === "default" && i === 1));
  const kind = parts.at(-2).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return { name: shown.join(" / "), kind: kind.replace(/ies$/, "y").replace(/s$/, "") };
}

// inside is the part of a scope that follows its resource group.
function inside(scope) {
  const cut = scope.toLowerCase().indexOf("/providers/");
  return cut < 0 ? scope : `…${scope.slice(cut)}`;
}

// --- rates -----------------------------------------------------------------

function remember(d, at) {
  let samples = history_.get(d.id);
  const requests = Object.values(d.statuses ?? {}).reduce((a, b) => a + b, 0);
  const now = { at, requests, timed: d.requests, buckets: d.buckets ?? [] };
  if (!samples || samples.at(-1).requests > requests || samples.at(-1).timed > d.requests) samples = [];
  if (samples.at(-1)?.at !== at) samples.push(now);
  while (samples.length > 2 && at - samples[1].at >= window_) samples.shift();
  history_.set(d.id, samples);
  return samples;
}

function perSecond(samples) {
  const last = samples.at(-1);
  const from = samples.findLast((s) => last.at - s.at >= 8000) ?? samples[0];
  return last.at > from.at ? ((last.requests - from.requests) * 1000) / (last.at - from.at) : null;
}

function quantile(q, bounds, buckets, count) {
  if (!count || buckets.length === 0) return null;
  const rank = q * count;
  let low = 0, below = 0;
  for (let i = 0; i < bounds.length; i++) {
    if (buckets[i] >= rank) {
      const inside = buckets[i] - below;
      return low + (bounds[i] - low) * (inside ? (rank - below) / inside : 1);
    }
    low = bounds[i];
    below = buckets[i];
  }
  return bounds.at(-1);
}

// latencies are those of the last minute or, if it had no request, of all.
function latencies(samples, bounds) {
  const last = samples.at(-1), first = samples[0];
  let count = last.timed - first.timed, buckets = last.buckets, old = false;
  if (count > 0) buckets = last.buckets.map((n, i) => n - (first.buckets[i] ?? 0));
  else { count = last.timed; old = true; }
  return { p50: quantile(0.5, bounds, buckets, count), p95: quantile(0.95, bounds, buckets, count), old: old && count > 0 };
}

function sparkline(svg, samples) {
  const values = samples.slice(1).map((s, i) => (s.requests - samples[i].requests) / Math.max(1, s.at - samples[i].at));
  const top = Math.max(...values, 0);
  svg.toggleAttribute("hidden", values.length < 3 || top === 0);
  const step = 72 / Math.max(1, values.length - 1);
  const points = values.map((v, i) => `${(i * step).toFixed(1)},${(17 - (top ? (v / top) * 16 : 0)).toFixed(1)}`).join(" ");
  svg.firstElementChild.setAttribute("points", points);
}

// --- endpoints -------------------------------------------------------------

function endpointBody(e) {
  const name = el("th", { class: "name", scope: "rowgroup", colspan: "10" },
    el("h3", { text: e.name }),
    el("span", { class: "facts" }, el("span", { "data-part": "state" }), el("span", { "data-part": "auth" }),
      el("code", { class: "uri", "data-part": "uri" }), el("span", { class: "chips", "data-part": "refused" })));
  return el("tbody", {}, el("tr", {}, name));
}

function stateBadge(state) {
  if (state === "Failed") return "badge bad";
  return state === "Succeeded" ? "badge good" : "badge busy";
}

function drawEndpoint(body, e, bounds, at) {
  const state = part(body, "state");
  state.hidden = e.state === "Succeeded";
  text(state, e.state);
  kind(state, stateBadge(e.state));
  text(part(body, "auth"), { key: "by key", amltoken: "by token of the endpoint", aadtoken: "by Entra token" }[e.authMode.toLowerCase()] ?? e.authMode);
  text(part(body, "uri"), e.scoringUri);
  chips(part(body, "refused"), e.refused ?? {}, "before a deployment was chosen");
  const rows = [];
  if (e.failure) rows.push({ key: "why", why: e.failure });
  for (const d of e.deployments) {
    rows.push({ key: `one ${d.name}`, one: d });
    if (d.failure) rows.push({ key: `why ${d.name}`, why: d.failure });
  }
  if (e.deployments.length === 0) rows.push({ key: "empty" });
  keyed(body, rows, (r) => r.key, makeRow, (node, r) => {
    if (r.one) drawDeployment(node, r.one, bounds, at);
    if (r.why) drawCause(node, r.why);
  });
}

function makeRow(r) {
  if (r.one) return deploymentRow(r.one);
  if (r.why) return el("tr", {}, el("td", { class: "why", colspan: "10" }, el("div", { class: "cause" }, el("p", { "data-part": "cause" }))));
  return el("tr", {}, el("td", { class: "why none", colspan: "10", text: "No deployment yet." }));
}

function deploymentRow(d) {
  const cell = (label, name, properties = {}) => el("td", { "data-label": label, ...properties }, el("span", { "data-part": name }));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 72 18");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  const requests = cell("Requests/s", "rate", { class: "num" });
  requests.prepend(svg);
  const share = el("td", { "data-label": "Traffic" }, el("span", { class: "share" },
    el("meter", { min: "0", max: "100", "data-part": "meter", "aria-hidden": "true" }), el("span", { "data-part": "share" })));
  const log = el("button", { type: "button", text: "Log" });
  log.setAttribute("aria-label", `Log of ${d.name}`);
  log.addEventListener("click", () => openLog(d.id));
  return el("tr", { class: "one" }, el("th", { scope: "row", text: d.name }),
    cell("State", "state"), share, cell("Instances", "instances"), requests, cell("p50", "p50", { class: "num" }), cell("p95", "p95", { class: "num" }),
    cell("Queue", "queue", { class: "num" }), el("td", { "data-label": "Errors" }, el("span", { class: "chips", "data-part": "errors" })), el("td", {}, log));
}

function deploymentState(d) {
  if (d.state === "Failed") return [d.served ? "Update failed" : "Failed", "badge bad"];
  if (d.state !== "Succeeded") return [d.progress || d.state, "badge busy"];
  if (!d.served) return ["Not running", "badge idle"];
  if (d.asleep) return ["At zero", "badge idle"];
  if (d.ready === 0) return ["Starting", "badge busy"];
  return d.ready < d.wanted ? ["Scaling", "badge busy"] : ["Serving", "badge good"];
}

function drawDeployment(row, d, bounds, at) {
  const samples = remember(d, at);
  const [word, badge] = deploymentState(d);
  text(part(row, "state"), word);
  kind(part(row, "state"), badge);
  part(row, "meter").value = d.traffic;
  text(part(row, "share"), d.mirror ? `${d.traffic} % + ${d.mirror} % mirrored` : `${d.traffic} %`);
  text(part(row, "instances"), d.served ? `${d.ready} of ${d.wanted}${d.memory ? `, ${bytes(d.memory)}` : ""}` : "–");
  part(row, "instances").title = `${d.instanceType}; restarts ${d.restarts}, starts from zero ${d.coldStarts}`;
  text(part(row, "rate"), rate(perSecond(samples)));
  sparkline(row.querySelector("svg"), samples);
  const l = latencies(samples, bounds);
  for (const name of ["p50", "p95"]) {
    const node = part(row, name);
    text(node, seconds(l[name]));
    kind(node, l.old ? "old" : "");
    node.title = l.old ? "No request in the last minute: since its start" : "";
  }
  text(part(row, "queue"), d.queued || d.inFlight ? `${d.queued} + ${d.inFlight}` : "0");
  part(row, "queue").title = "waiting + running";
  chips(part(row, "errors"), d.statuses ?? {}, "");
}

// chips tell how often each status of a failure was given.
function chips(parent, statuses, where) {
  const failures = Object.entries(statuses).filter(([status]) => Number(status) >= 400);
  keyed(parent, failures, ([status]) => status, () => el("span"), (node, [status, n]) => {
    text(node, `${status} × ${whole.format(n)}`);
    kind(node, Number(status) >= 500 || status === "424" ? "badge bad" : "badge busy");
    node.title = `${n} answers with ${status} ${where}`.trim();
  });
}

function drawCause(row, failure) {
  const remedy = failure.denial?.remedy ?? ""; // which stands in the message too
  const message = remedy ? failure.message.replace(remedy, "").trim() : failure.message;
  wrapped(part(row, "cause"), `${failure.code}: ${message}`);
  const box = row.querySelector(".cause");
  keyed(box, remedy ? [remedy] : [], (c) => c, command, () => {});
}

// --- denials ---------------------------------------------------------------

function makeDenial(d) {
  const item = el("li", {},
    el("div", { class: "head" }, el("strong", { "data-part": "who" }), el("span", { class: "badge", text: d.plane }), el("span", { class: "badge good", "data-part": "mended", text: "allowed now" }),
      el("span", { class: "when", "data-part": "when" })),
    el("p", {}, "was denied ", el("code", { "data-part": "action" }), " at the ", el("span", { "data-part": "kind" }), " ", el("strong", { "data-part": "place" })),
    el("p", { class: "ids mono", "data-part": "scope", title: d.scope }),
    el("p", { "data-part": "needs" }));
  const at = place(d.scope);
  text(part(item, "kind"), at.kind);
  text(part(item, "place"), at.name);
  wrapped(part(item, "action"), d.action);
  wrapped(part(item, "scope"), inside(d.scope));
  return item;
}

function drawDenial(item, d, now) {
  kind(item, d.allowed ? "mended" : "");
  text(part(item, "who"), d.who ? `${d.who} · ${short(d.principal)}` : d.principal);
  part(item, "who").title = `${d.kind || "a principal that is gone"}, object id ${d.principal}`;
  part(item, "mended").hidden = !d.allowed;
  const last = new Date(d.last);
  text(part(item, "when"), (d.times > 1 ? `${whole.format(d.times)} times, last ` : "") + ago(last, now));
  part(item, "when").title = `first ${new Date(d.first).toLocaleString()}, last ${last.toLocaleString()}`;
  const at = place(d.roleScope);
  const needs = part(item, "needs");
  const words = d.role ? [d.allowed ? "It needed " : "It needs ", el("strong", { text: d.role }), ` at the ${at.kind} ${at.name}.`] : ["No role that is known here would allow it."];
  if (needs.dataset.said !== `${d.allowed} ${d.role} ${d.roleScope}`) needs.replaceChildren(...words);
  needs.dataset.said = `${d.allowed} ${d.role} ${d.roleScope}`;
  keyed(item, d.remedy ? [d.remedy] : [], (c) => c, command, () => {});
}

// --- identities ------------------------------------------------------------

function makeIdentity() {
  return el("article", {}, el("div", { class: "who" }, el("h3", { "data-part": "name" }), el("span", { class: "dim", "data-part": "kind" }), el("code", { class: "dim", "data-part": "id" })),
    el("ul", { class: "reach" }), el("p", { class: "none", "data-part": "left" }));
}

function drawIdentity(node, i) {
  text(part(node, "name"), i.endpoint);
  text(part(node, "kind"), i.kind === "UserAssigned" ? `as ${i.name}` : "its own identity");
  text(part(node, "id"), i.objectId);
  keyed(node.querySelector("ul"), i.edges, (g) => `${g.refused} ${g.role} ${g.scope}`, (g) => {
    const at = place(g.scope);
    const thing = el("span", { class: "thing" }, at.name, el("small", { text: at.kind }));
    thing.title = g.scope;
    const role = el("span", { class: "role", text: g.role });
    role.title = g.title;
    return el("li", { class: g.refused ? "refused" : "" }, role, el("span", { class: "arrow", role: "img", "aria-label": g.refused ? "is refused at" : "at" }), thing);
  }, () => {});
  const left = part(node, "left");
  left.hidden = i.left === 0 && i.edges.length > 0;
  text(left, i.left ? `and ${i.left} more roles` : "No role: it reaches nothing.");
}

// edges are the roles of an identity, and what it was refused and still would be.
function edges(identity, denials) {
  const list = identity.grants.map((g) => ({ role: g.role, scope: g.scope, refused: false, title: `${g.role} at ${g.scope}` }));
  for (const d of denials) {
    if (d.principal !== identity.objectId || d.allowed) continue;
    const action = d.action.split("/").slice(-2).join("/");
    list.push({ role: action, scope: d.scope, refused: true, title: `${d.action}: needs ${d.role} at ${d.roleScope}` });
  }
  return list;
}

// --- the whole -------------------------------------------------------------

function drawCounts(c) {
  const rows = [["Endpoints", c.endpoints, ""], ["Deployments", c.deployments, ""], ["with instances", c.awake, ""], ["at zero", c.asleep, ""],
    ["instances ready", c.instances, ""], ["changing", c.changing, c.changing ? "busy" : ""], ["failed", c.failed, c.failed ? "bad" : ""]];
  keyed($("counts"), rows, (r) => r[0], (r) => el("div", {}, el("dt", { text: r[0] }), el("dd")), (node, r) => {
    text(node.lastElementChild, whole.format(r[1]));
    kind(node, r[2]);
  });
}

function draw(s) {
  const now = new Date(s.time), at = now.getTime();
  $("notice").hidden = true;
  $("shown").hidden = false;
  text($("version"), s.version);
  drawCounts(s.counts);
  keyed($("endpoints"), s.endpoints, (e) => e.id, endpointBody, (node, e) => drawEndpoint(node, e, s.bounds, at), ":scope > tbody");
  $("endpoints").hidden = s.endpoints.length === 0;
  $("endpoints-none").hidden = s.endpoints.length > 0;
  text($("endpoints-none"), search ? "No endpoint or deployment has such a name." : s.left ? "None has instances or trouble." : "There is none yet. az ml online-endpoint create makes one.");
  $("endpoints-left").hidden = s.left === 0;
  text($("endpoints-left"), search ? `${whole.format(s.left)} others do not match or are too many to show.` : `${whole.format(s.left)} more, without instances or trouble; find them by name.`);

  text($("denials-count"), s.denials.length ? whole.format(s.denials.length + s.forgotten) : "");
  $("denials-none").hidden = s.denials.length > 0;
  keyed($("denials"), s.denials, (d) => [d.principal, d.plane, d.dataAction, d.action, d.scope].join(" "), makeDenial, (node, d) => drawDenial(node, d, now));
  $("denials-left").hidden = s.forgotten === 0;
  text($("denials-left"), `and ${whole.format(s.forgotten)} older ones`);

  const identities = s.endpoints.flatMap((e) => e.identities.map((i) => ({ ...i, endpoint: e.name, edges: edges(i, s.denials) })));
  $("identities-none").hidden = identities.length > 0;
  keyed($("identities"), identities, (i) => `${i.endpoint} ${i.objectId}`, makeIdentity, drawIdentity);

  const there = new Set(s.endpoints.flatMap((e) => e.deployments.map((d) => d.id)));
  for (const id of history_.keys()) if (!there.has(id)) history_.delete(id);
}

function status(word, is) {
  text($("status-text"), word);
  kind($("status"), `status ${is}`);
}

// notice says what keeps the page from showing anything, and what to do.
function notice(title, words, remedy, again) {
  clearTimeout(timer);
  status("Not connected", "lost");
  text($("notice-title"), title);
  text($("notice-text"), words);
  commandText($("notice-command").querySelector("code"), remedy);
  $("notice-command").hidden = !remedy;
  $("notice-again").hidden = !again;
  $("notice").hidden = false;
  $("shown").hidden = true;
  if ($("log").open) $("log").close();
}

function signedOut() {
  token = "";
  notice("Run lapis page again", "This page holds its token in memory only: after a reload, or when the token has expired, it needs a new one. Open the address that this prints:", "lapis page", false);
}

function refused(error) {
  const d = error.denial;
  notice("A role is missing", d?.role ? `To look here takes the role ${d.role} at ${d.roleScope}. ${error.message}` : error.message, d?.remedy ?? "", true);
}

// get asks for JSON. It returns null when somebody else has told why there is none.
async function get(path) {
  const reply = await fetch(path, {
    headers: { Authorization: `Bearer ${token}` }, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(20_000),
  });
  const body = await reply.json();
  if (reply.ok) return body;
  const error = body.error ?? { message: `status ${reply.status}` };
  if (reply.status === 401) signedOut();
  else if (reply.status === 403 && path.startsWith("/page/state")) refused(error);
  else throw Object.assign(new Error(error.message), { told: true, denial: error.denial });
  return null;
}

async function refresh() {
  clearTimeout(timer);
  if (!token || document.hidden) return;
  const mine = ++asked;
  try {
    const state = await get(`/page/state?search=${encodeURIComponent(search)}`);
    if (state === null || mine !== asked) return;
    draw(state);
    lastAnswer = new Date();
    status("Live", "live");
    if ($("log").open) await readLog();
  } catch (error) {
    if (mine !== asked) return;
    const since = lastAnswer ? ` since ${lastAnswer.toLocaleTimeString()}` : "";
    status(error.told ? error.message : `No answer from Lapis${since}; trying again`, "lost");
  }
  if (mine === asked && token) timer = setTimeout(refresh, every);
}

// --- logs ------------------------------------------------------------------

let logOf = "";

function openLog(id) {
  logOf = id;
  const at = place(id);
  text($("log-title"), at.name.split(" / ").slice(1).join(" / "));
  text($("log-text"), "…");
  $("log").showModal();
  readLog();
}

async function readLog() {
  const pre = $("log-text"), id = logOf, container = $("log-container").value;
  let content;
  try {
    const reply = await get(`/page/log?deployment=${encodeURIComponent(id)}&container=${container}`);
    if (reply === null) return;
    content = reply.content;
  } catch (error) {
    content = error.denial?.remedy ? `${error.message}\n\nIt needs ${error.denial.role}:\n${error.denial.remedy}` : error.message;
  }
  if (id !== logOf || container !== $("log-container").value || pre.textContent === content) return;
  const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  text(pre, content);
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}

// --- beginning -------------------------------------------------------------

// takeToken reads the fragment and takes it out of the address and the history.
function takeToken() {
  const given = location.hash.slice(1);
  if (!/^[\w.-]+\.[\w.-]+\.[\w.-]+$/.test(given)) return;
  token = given;
  history.replaceState(null, "", location.pathname);
}

function begin() {
  takeToken();
  if (token) refresh();
  else signedOut();
}

$("notice-again").addEventListener("click", refresh);
$("log-close").addEventListener("click", () => $("log").close());
$("log-container").addEventListener("change", readLog);
$("search").addEventListener("submit", (event) => event.preventDefault());
$("search-text").addEventListener("input", (event) => {
  search = event.target.value.trim();
  refresh();
});
document.addEventListener("visibilitychange", refresh);
addEventListener("hashchange", () => { takeToken(); refresh(); });
begin();
