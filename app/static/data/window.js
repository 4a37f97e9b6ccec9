// Which rows of a long list are on screen. Pure arithmetic, in CSS pixels.

const TALLEST = 12_000_000; // browsers draw nothing below some 17 million pixels

/**
 * height: of what is seen; row: of one row. Where all rows would be too tall the list is squeezed: a pixel of its
 * scrollbar is then more than a pixel of rows.
 * @typedef {{ total: number, row: number, height: number }} Sizes
 */

/** How tall the scrolled element is. @param {Sizes} sizes */
export function tallness({ total, row }) {
  return Math.min(total * row, TALLEST);
}

/** Pixels of rows for one of the scrollbar. @param {Sizes} sizes */
function ratio(sizes) {
  const { total, row, height } = sizes;
  const scrolled = tallness(sizes) - height;
  return scrolled > 0 ? (total * row - height) / scrolled : 1;
}

/** The first and last row that are seen, and where row i lies in the scrolled element: i * row - shift.
 *  @param {Sizes} sizes @param {number} scrollTop */
export function seen(sizes, scrollTop) {
  const { total, row, height } = sizes;
  const top = Math.max(0, scrollTop) * ratio(sizes);
  const first = Math.max(0, Math.min(total - 1, Math.floor(top / row)));
  const last = Math.max(first, Math.min(total - 1, Math.ceil((top + height) / row) - 1));
  return { first, last, shift: top - Math.max(0, scrollTop) };
}

/** Where to scroll to that row `index` is whole on screen; where it is already, stay. @param {Sizes} sizes */
export function scrollFor(sizes, scrollTop, index) {
  const { row, height } = sizes;
  const by = ratio(sizes);
  const top = scrollTop * by;
  if (index * row < top) return (index * row) / by;
  if ((index + 1) * row > top + height) return ((index + 1) * row - height) / by;
  return scrollTop;
}

/** The pages that hold rows first to last. */
export function pagesOf(first, last, size) {
  const pages = [];
  for (let page = Math.floor(first / size); page <= Math.floor(last / size); page++) pages.push(page);
  return pages;
}
