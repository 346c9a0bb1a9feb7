/**
 * The roles on a domain, and who may change whose: the rules that the gateway enforces, to offer nothing else.
 * @module
 */

const NONE = "none";

/** Value, words and meaning of each role; each may all that the one before may. */
export const ROLES = [
  ["viewer", "Viewer", "Sees the domain, its mailboxes and who manages it."],
  ["administrator", "Administrator", "Also creates and changes mailboxes and aliases, and invites people."],
  ["owner", "Owner", "Also decides on the domain itself and on everybody's role."],
];

/** From one role to another → the lowest role that may change somebody's so; "none" is no role. */
export const CHANGES = {
  none: { viewer: "administrator", administrator: "administrator", owner: "owner" },
  viewer: { administrator: "administrator", owner: "owner", none: "administrator" },
  administrator: { viewer: "owner", owner: "owner", none: "owner" },
  owner: { viewer: "owner", administrator: "owner", none: "owner" },
};

/** Return whether a role is that one or higher. */
export function isAtLeast(role, lowest) {
  return rank(role) >= rank(lowest);
}

/** Return a role in words. */
export function roleName(role) {
  return ROLES[rank(role)][1];
}

/** Return the entries of {@link ROLES} that whoever has the role `mine` may give to who has `before`. */
export function assignable(mine, before = NONE) {
  return ROLES.filter(([after]) => after in CHANGES[before] && isAtLeast(mine, CHANGES[before][after]));
}

/** Return whether whoever has the role `mine` may take `theirs` away from somebody. */
export function mayRemove(mine, theirs) {
  return isAtLeast(mine, CHANGES[theirs][NONE]);
}

function rank(role) {
  return ROLES.findIndex(([each]) => each === role);
}
