// Words beside the picture: facts, an appeal's history, the last answer with the machine's verdict, progress.

const find = (id) => document.getElementById(id);

export function showTask(task) {
  const isCase = Boolean(task.detail || task.history.length);
  find("case").hidden = !isCase;
  find("case-title").textContent = task.why;
  find("case-detail").textContent = task.detail ? `“${task.detail}”` : "";
  find("history").replaceChildren(...task.history.map(historyItem));
  showFacts([
    ["Picture", task.image_id],
    ["Source", task.source],
    ["Why", task.why],
    ["Waits since", new Date(task.waiting_since).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })],
  ]);
}

export function addSize(picture) {
  addFact("Size", `${picture.width} × ${picture.height} pixels`);
}

export function clear() {
  find("case").hidden = true;
  find("facts").replaceChildren();
}

export function showAnswered(answered) {
  const { verdict, label } = answered;
  const parts = [part("You", answered.answer, answered.answer)];
  if (verdict) {
    const percent = `${(verdict.probability * 100).toFixed(verdict.probability > 0.995 || verdict.probability < 0.005 ? 2 : 0)} % fake`;
    parts.push(part("Machine", `${percent}, ${verdict.decision.toLowerCase()} (${verdict.backbone})`, verdict.decision.toLowerCase()));
  } else {
    parts.push(part("Machine", "no verdict on this one", "none"));
  }
  if (answered.agrees !== null) parts.push(part("", answered.agrees ? "you agree" : "you differ", answered.agrees ? "agrees" : "differs"));
  parts.push(part("Label", labelWords(label), "label"));
  find("strip").replaceChildren(...parts);
}

export function showWords(text) {
  find("strip").textContent = text;
}

export function showProgress(progress) {
  const pace = progress.pace_s === null ? "" : `${progress.pace_s.toFixed(1)} s each`;
  const left = `${progress.left}${progress.is_more ? "+" : ""} left`;
  find("progress").textContent = [left, `${progress.done} done`, pace].filter(Boolean).join(" · ");
}

function labelWords(label) {
  if (label.trust === "disputed") return "people differ; a third will look";
  if (!label.answer) return "none yet";
  return `${label.answer}, ${label.trust}`;
}

function part(name, text, kind) {
  const span = document.createElement("span");
  span.className = `part p-${kind}`;
  if (name) {
    const small = document.createElement("small");
    small.textContent = `${name} `;
    span.append(small);
  }
  const strong = document.createElement("strong");
  strong.textContent = text;
  span.append(strong, " ");
  return span;
}

function showFacts(facts) {
  find("facts").replaceChildren();
  for (const [name, value] of facts) if (value) addFact(name, value);
}

function addFact(name, value) {
  const [row, term, description] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
  term.textContent = name;
  description.textContent = value;
  row.append(term, description);
  find("facts").append(row);
}

function historyItem(each) {
  const item = document.createElement("li");
  const why = each.why ? `: ${each.why}` : "";
  item.textContent = `${each.who} ${each.said}${why} (${new Date(each.at).toLocaleDateString()})`;
  return item;
}
