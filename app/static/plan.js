// What becomes of every token at a budget, computed from the plan alone. Pure functions: no DOM, no network.

const SLACK = 1e-9; // as in fsr.refine: 0.7 of ten tokens is seven, however 0.7 is rounded

export const ROLE = { DROPPED: 0, MERGED: 1, KEPT: 2, SCAN: 3, FOCUS: 4 };

/** Roles of a table at its b-th budget. Low bits first; packed as bits 1 is KEPT, as nibbles the role itself. */
function unpack(plan, b, n) {
  const bytes = atob(plan.roles[b]);
  const roles = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    if (plan.packing === "bit") roles[i] = (bytes.charCodeAt(i >> 3) >> (i & 7)) & 1 ? ROLE.KEPT : ROLE.DROPPED;
    else roles[i] = (bytes.charCodeAt(i >> 1) >> (4 * (i & 1))) & 15;
  }
  return roles;
}

/** The budget the plan can show: the wanted one, for a table the nearest it holds that is not above (else
 *  its first), for a method inside the language model the nearest that was run. */
export function snapBudget(plan, n, wanted) {
  const budget = Math.min(n, Math.max(1, Math.round(wanted) || 1));
  if (!plan?.budgets) return budget;
  let best = plan.budgets[0];
  if (plan.kind === "layers") {
    for (const b of plan.budgets) if (Math.abs(b - budget) < Math.abs(best - budget)) best = b;
    return best;
  }
  for (const b of plan.budgets) if (b <= budget) best = b;
  return best;
}

/** One sentence where the plan cannot show every budget, else nothing. */
export function budgetNote(plan, n) {
  if (plan?.kind !== "table" || plan.budgets.length === n) return "";
  if (plan.budgets.length === 1) return `This method keeps ${plan.budgets[0]} tokens, whatever the budget.`;
  return `Planned at ${plan.budgets.length} of ${n} budgets: shown is the nearest that is not above yours.`;
}

/** The budget that a wish leads to: a step of one from `now` always moves, to the next budget that the plan can show. */
export function nextBudget(plan, n, now, wanted) {
  const budget = snapBudget(plan, n, wanted);
  if (budget !== now || Math.abs(wanted - now) !== 1 || !plan?.budgets) return budget;
  const at = plan.budgets.indexOf(now) + (wanted - now);
  return plan.budgets[Math.min(plan.budgets.length - 1, Math.max(0, at))];
}

/** Roles of all n tokens at a budget, as Uint8Array of ROLE; Refine is a step of its own. */
export function rolesAt(plan, n, budget, layer = 0) {
  if (plan.kind === "layers") {
    const depth = plan.depth[plan.budgets.indexOf(snapBudget(plan, n, budget))];
    return Uint8Array.from(depth, (layers) => (layers > layer ? ROLE.KEPT : ROLE.DROPPED));
  }
  if (plan.kind === "table") {
    return unpack(plan, plan.budgets.indexOf(snapBudget(plan, n, budget)), n);
  }
  const roles = new Uint8Array(n);
  if (plan.kind === "rank") {
    for (let i = 0; i < n; i++) if (plan.rank[i] < budget) roles[i] = ROLE.KEPT;
    return roles;
  }
  const focus = Math.min(plan.k_focus, budget);
  const scan = budget - plan.k_focus;
  for (let i = 0; i < n; i++) {
    if (plan.focus_rank[i] < focus) roles[i] = ROLE.FOCUS;
    else if (plan.scan_rank[i] >= 0 && plan.scan_rank[i] < scan) roles[i] = ROLE.SCAN;
  }
  return roles;
}

/** The smallest budget at which each token is kept; 0 where it never is. */
export function entryBudgets(plan, n) {
  const entry = new Int32Array(n);
  if (plan.kind === "rank") {
    for (let i = 0; i < n; i++) entry[i] = plan.rank[i] + 1;
  } else if (plan.kind === "nested") {
    for (let i = 0; i < n; i++) {
      if (plan.focus_rank[i] < plan.k_focus) entry[i] = plan.focus_rank[i] + 1;
      else if (plan.scan_rank[i] >= 0) entry[i] = plan.k_focus + plan.scan_rank[i] + 1;
    }
  } else {
    for (let b = plan.budgets.length - 1; b >= 0; b--) {
      const roles = unpack(plan, b, n);
      for (let i = 0; i < n; i++) if (roles[i] >= ROLE.KEPT) entry[i] = plan.budgets[b];
    }
  }
  return entry;
}

/** The nearest scan token of token i once `size` scan tokens are chosen: the last record below that size. */
function nearest(history, i, size) {
  let low = history.offsets[i];
  let high = history.offsets[i + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (history.rank[middle] < size) low = middle + 1;
    else high = middle;
  }
  return low > history.offsets[i] ? low - 1 : -1;
}

/**
 * Refine (Eq. 8-9) at a budget: marks MERGED in `roles` and says who goes where.
 * anchor[i]: nearest scan token of a dropped token, -1 if none; weight[i]: the share of token i in its merged embedding.
 */
export function refineAt(plan, roles, budget) {
  const n = roles.length;
  const out = {
    anchor: new Int32Array(n).fill(-1),
    similarity: new Float32Array(n).fill(NaN),
    weight: new Float32Array(n),
    absorbed: new Uint16Array(n),
    merged: 0,
  };
  for (let i = 0; i < n; i++) if (roles[i] >= ROLE.KEPT) out.weight[i] = 1;
  if (plan.anchors) return mergeFromTable(out, plan, roles, budget);
  const size = plan.kind === "nested" ? budget - plan.k_focus : 0;
  if (size <= 0 || !plan.history) return out;
  const dropped = [];
  for (let i = 0; i < n; i++) {
    if (roles[i] !== ROLE.DROPPED) continue;
    const at = nearest(plan.history, i, size);
    if (at < 0) continue;
    out.anchor[i] = plan.history.anchor[at];
    out.similarity[i] = plan.history.similarity[at];
    dropped.push(i);
  }
  const similarity = out.similarity;
  dropped.sort((a, b) => similarity[b] - similarity[a] || a - b);
  mergeInto(out, roles, plan.phi, dropped.slice(0, Math.min(dropped.length, Math.floor(plan.kappa * size + SLACK))));
  return out;
}

/** A table that knows its anchors: of the MERGED tokens in their order, two bytes each, the low one first. */
function mergeFromTable(out, plan, roles, budget) {
  const bytes = atob(plan.anchors[plan.budgets.indexOf(budget)]);
  const merged = [];
  for (let i = 0; i < roles.length; i++) {
    if (roles[i] !== ROLE.MERGED) continue;
    const at = 2 * merged.length;
    out.anchor[i] = bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8);
    merged.push(i);
  }
  mergeInto(out, roles, plan.phi, merged, plan.own);
  return out;
}

/** own: the share that an anchor has beside its part of the mean. */
function mergeInto(out, roles, phi, merged, own = 0) {
  const total = new Float64Array(roles.length);
  for (const i of merged) {
    const j = out.anchor[i];
    if (out.absorbed[j]++ === 0) total[j] = phi[j];
    total[j] += phi[i];
    roles[i] = ROLE.MERGED;
  }
  for (const i of merged) {
    const sum = total[out.anchor[i]];
    out.weight[i] = sum > 0 ? ((1 - own) * phi[i]) / sum : 0;
  }
  for (let j = 0; j < roles.length; j++) {
    if (out.absorbed[j] > 0) out.weight[j] = total[j] > 0 ? own + ((1 - own) * phi[j]) / total[j] : 1;
  }
  out.merged = merged.length;
}

/** Everything the page shows at one budget; `layer` of the language model, for methods that prune inside it. */
export function viewAt(plan, n, wanted, layer = 0) {
  const budget = snapBudget(plan, n, wanted);
  const roles = rolesAt(plan, n, budget, layer);
  const refine = refineAt(plan, roles, budget);
  const counts = [0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) counts[roles[i]]++;
  let anchors = 0;
  for (let i = 0; i < n; i++) if (refine.absorbed[i] > 0) anchors++;
  const depth = plan.kind === "layers" ? plan.depth[plan.budgets.indexOf(budget)] : null;
  return { budget, roles, refine, counts, anchors, depth };
}

/** The paper's budgets for this grid: a third, two ninths, a ninth of N (192, 128, 64 of 576). */
export function paperBudgets(n) {
  const ticks = [1 / 9, 2 / 9, 1 / 3].map((share) => Math.max(1, Math.round(n * share)));
  return [...new Set(ticks)].filter((k) => k < n);
}
