/**
 * Lists that load more as one scrolls; a button does the same for whoever does not scroll.
 * @module
 */

import { element, whenNear } from "./dom.js";
import { notify } from "./notice.js";
import { busy, button, isBusy, skeleton } from "./widgets.js";

const PAGE = 30;

/**
 * Return the list, which loads itself.
 * @param {Object} parts `page({limit, offset})` resolves to `{total, items}`; `row(item)` makes its node, `key(item)`
 *     tells items apart, those that `isHidden(item)` are left out, `empty()` is shown where there are none; `shape` is
 *     that of the skeleton.
 */
export function endlessList({ page, row, key, empty, shape, label, signal, isHidden = () => false }) {
  const list = element("ul", { class: "rows", "aria-label": label });
  const node = element("div", {}, skeleton(shape, 3));
  const seen = new Set();
  let loaded = 0;

  async function more() {
    const { total, items } = await page({ limit: PAGE, offset: loaded });
    loaded += items.length;
    // What came to the top meanwhile moves the others down: they come a second time.
    for (const item of items.filter((each) => !seen.has(key(each)))) {
      seen.add(key(item));
      if (!isHidden(item)) list.append(element("li", {}, row(item)));
    }
    const isWhole = loaded >= total || items.length === 0;
    node.replaceChildren(isWhole && list.childElementCount === 0 ? empty() : list);
    if (!isWhole) node.append(rest());
  }

  function rest() {
    const control = button("Load more", () => load(), { kind: "quiet" });
    const load = () =>
      isBusy(control) ||
      busy(control, more()).catch((problem) => signal.aborted || notify(problem.message, { tone: "bad" }));
    whenNear(control, load, signal);
    return element("div", { class: "more" }, control);
  }

  return { node, ready: more() };
}

/**
 * Return a place for a list that can be shown anew: what stands there stays until what comes in its place is there.
 * `make()` returns an {@link endlessList}.
 */
export function renewableList(make) {
  const node = element("div");
  async function renew() {
    const list = make();
    if (!node.hasChildNodes()) node.append(list.node);
    await list.ready;
    node.replaceChildren(list.node);
  }
  return { node, renew };
}
