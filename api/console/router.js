/**
 * Which page the address names: `#/identities/remotes/1234?x=y`.
 * @module
 */

/** Return the address of a page. */
export function pageAt(path, query = {}) {
  const parameters = new URLSearchParams(query).toString();
  return `#${path}${parameters && `?${parameters}`}`;
}

/** Go to a page; `replace` leaves the present one out of the history. */
export function go(address, { replace = false } = {}) {
  if (replace) location.replace(address);
  else location.hash = address;
}

/** Return the route whose path fits the address, with its parameters; null where none does. */
export function matching(routes, hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  for (const route of routes) {
    const params = fit(route.path.split("/"), path.split("/"));
    if (params) return { route, params, query: Object.fromEntries(new URLSearchParams(query)) };
  }
  return null;
}

function fit(pattern, parts) {
  if (pattern.length !== parts.length) return null;
  const params = {};
  for (const [index, name] of pattern.entries()) {
    if (name.startsWith(":")) params[name.slice(1)] = decoded(parts[index]);
    else if (name !== parts[index]) return null;
  }
  return params;
}

/** Decode a part of an address; one that nobody could have encoded stays, and names nothing. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
