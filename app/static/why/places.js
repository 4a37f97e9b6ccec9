// Why a token was kept or dropped by methods that go by places or pixels alone; see sentences.js.

export function ofGrid({ kept, budget, trace }, token) {
  const { row, col } = trace.tokens;
  const where =
    row[token] < 0
      ? "it lies outside the grid"
      : `row ${row[token] + 1}, column ${col[token] + 1} is ${kept ? "" : "not "}one of ${budget} evenly spread places`;
  return `${kept ? "Kept" : "Dropped"}: ${where}. Neither picture nor question counts.`;
}

export function ofPooling({ trace, kept }, token) {
  const { row, col, frame, n } = trace.tokens;
  if (row[token] < 0) return "Kept: it lies outside the grid, which is all that is pooled.";
  if (kept)
    return "Kept: the first of its block of 2 × 2, and now the mean of it. Neither picture nor question counts.";
  const block = (i) => `${frame ? frame[i] : 0}/${row[i] >> 1}/${col[i] >> 1}`;
  let first = 0;
  while (first < n && (row[first] < 0 || block(first) !== block(token))) first++;
  return `Merged into #${first}, the first of its block of 2 × 2, as every token is. Neither picture nor question counts.`;
}

export function ofPixelPrune({ trace, kept, record }, token) {
  if (trace.tokens.row[token] < 0) return "Kept: it lies outside the grid.";
  return kept
    ? "Kept: its pixels are not those of the neighbour that predicts it (left, or above where the edge runs that way)."
    : `Dropped: its pixels equal, one by one, those of the neighbour that predicts it. The vision tower ${record.facts?.n_not_encoded ? "never read it" : "read it all the same"}.`;
}
