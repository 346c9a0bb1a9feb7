/**
 * The fields of an account at another provider: name, servers, sign-in.
 * @module
 */

import { element } from "./dom.js";
import { choiceField, passwordField, textField } from "./form.js";

const MODES = [
  ["implicit", "TLS from the start"],
  ["starttls", "STARTTLS"],
  ["none", "No encryption"],
];
const PROTOCOLS = [
  ["imap", "Yes, in my Sent folder there (IMAP and SMTP)"],
  ["smtp", "No, I only send (SMTP)"],
];
const SIGN_INS = [
  ["loginpassword", "Password"],
  ["oauth2", "OAuth 2.0 access token"],
];
const KEPT = "Leave empty to keep the one that is stored.";

/** The fields; `isNew` tells that nothing is stored yet. */
export class AccountFields {
  constructor({ isNew }) {
    this.isNew = isNew;
    this.incoming = new ServerFields("in", "Incoming mail (IMAP)");
    this.outgoing = new ServerFields("out", "Outgoing mail (SMTP)");
    this.makeSignIn(isNew ? undefined : KEPT);
    this.makeSettings();
    this.node = this.layout();
    this.arrange();
  }

  makeSignIn(hint) {
    const name = (key) => ({ name: `credentials.${key}`, autocapitalize: "off", spellcheck: "false" });
    this.username = textField("User name", name("inusername"), { hint });
    this.password = passwordField("Password", name("inpassword"), { hint });
    this.token = passwordField("Access token", name("accesstoken"), { hint });
    this.outUsername = textField("User name for outgoing mail", name("outusername"), { hint, optional: true });
    this.outPassword = passwordField("Password for outgoing mail", name("outpassword"), { hint, optional: true });
  }

  makeSettings() {
    const onchange = () => this.arrange();
    this.displayName = textField(
      "Name",
      { name: "display_name", autocomplete: "name", maxlength: "200" },
      { hint: "Shown to those who get your mail.", optional: true },
    );
    this.protocol = choiceField("Keep copies of what I send", { name: "protocol", onchange }, PROTOCOLS);
    this.signIn = choiceField("Sign in with", { name: "infos.authtype", onchange }, SIGN_INS);
    this.interval = textField(
      "Check every … minutes",
      { name: "infos.pollinterval", inputmode: "numeric", value: "15" },
      { hint: "From 1 to 1440." },
    );
  }

  /** All fields, for the errors of the gateway. */
  get fields() {
    const own = [
      this.displayName,
      this.protocol,
      this.signIn,
      this.username,
      this.password,
      this.token,
      this.outUsername,
      this.outPassword,
      this.interval,
    ];
    return [...own, ...this.incoming.fields, ...this.outgoing.fields];
  }

  layout() {
    this.advanced = element(
      "details",
      { class: "advanced" },
      element("summary", {}, "More settings"),
      element(
        "div",
        { class: "stack" },
        this.displayName.node,
        this.isNew && this.protocol.node,
        this.signIn.node,
        this.outUsername.node,
        this.outPassword.node,
        this.interval.node,
      ),
    );
    const signIn = element(
      "fieldset",
      { class: "fieldset" },
      element("legend", {}, "Sign-in"),
      element("div", { class: "pair" }, this.username.node, this.password.node, this.token.node),
    );
    return element("div", { class: "stack" }, signIn, this.incoming.node, this.outgoing.node, this.advanced);
  }

  /** Show the fields that the protocol and the way to sign in have. */
  arrange() {
    const [isImap, hasToken] = [this.protocol.value === "imap", this.signIn.value === "oauth2"];
    this.incoming.node.hidden = !isImap;
    this.incoming.host.control.required = isImap;
    this.token.node.hidden = !hasToken;
    for (const field of [this.password, this.outUsername, this.outPassword]) field.node.hidden = hasToken;
  }

  /** Fill in what is known: `infos` of an identity or a proposal, user names, protocol. */
  fill({ protocol, infos, display_name: displayName, inusername, outusername }) {
    this.protocol.value = protocol;
    this.incoming.fill(infos);
    this.outgoing.fill(infos);
    this.signIn.value = infos.authtype ?? "loginpassword";
    this.interval.value = infos.pollinterval ?? "15";
    this.displayName.value = displayName ?? this.displayName.value;
    const username = inusername ?? outusername;
    this.username.value = username ?? this.username.value;
    this.outUsername.value = outusername && outusername !== username ? outusername : "";
    this.arrange();
  }

  get infos() {
    return {
      ...(this.protocol.value === "imap" ? this.incoming.infos : {}),
      ...this.outgoing.infos,
      authtype: this.signIn.value,
      pollinterval: this.interval.value.trim(),
    };
  }

  /** Credentials that were typed. */
  get credentials() {
    const typed =
      this.signIn.value === "oauth2"
        ? { username: this.username.value.trim(), accesstoken: this.token.value.trim() }
        : {
            inusername: this.username.value.trim(),
            inpassword: this.password.value,
            outusername: this.outUsername.value.trim(),
            outpassword: this.outPassword.value,
          };
    return Object.fromEntries(Object.entries(typed).filter(([, value]) => value !== ""));
  }

  /** What signs in the other way, to be removed: it goes to no server that it was not given for. */
  get unused() {
    const keys = this.signIn.value === "oauth2" ? ["inpassword", "outpassword"] : ["accesstoken", "refreshtoken"];
    return Object.fromEntries(keys.map((key) => [key, null]));
  }

  /** Open what is folded up around a field that the gateway blames. */
  unfold({ errors = {} }) {
    if (this.outPassword.name in errors) this.advanced.open = true;
  }

  /** Show at the field of the secret that servers do not take it. */
  failSignIn(words) {
    const field = this.signIn.value === "oauth2" ? this.token : this.password;
    field.fail(words);
    field.focus();
  }
}

/** Host, port and TLS mode of one server; `direction` is in or out. */
class ServerFields {
  constructor(direction, legend) {
    this.direction = direction;
    this.host = textField("Server", {
      name: `infos.${direction}server`,
      required: true,
      inputmode: "url",
      autocapitalize: "off",
      spellcheck: "false",
      placeholder: direction === "in" ? "imap.example.org" : "smtp.example.org",
    });
    this.port = textField("Port", {
      name: `port-${direction}`,
      inputmode: "numeric",
      maxlength: "5",
      placeholder: direction === "in" ? "993" : "587",
    });
    this.mode = choiceField("Protection", { name: `infos.${direction}tls` }, MODES);
    this.fields = [this.host, this.port, this.mode];
    this.mode.value = direction === "in" ? "implicit" : "starttls";
    this.node = element(
      "fieldset",
      { class: "fieldset" },
      element("legend", {}, legend),
      element("div", { class: "server" }, this.host.node, this.port.node, this.mode.node),
    );
  }

  fill(infos) {
    const [host, port] = split(infos[`${this.direction}server`] ?? "");
    this.host.value = host;
    this.port.value = port;
    this.mode.value =
      infos[`${this.direction}tls`] ??
      (["993", "465"].includes(port) || (!port && this.direction === "in") ? "implicit" : "starttls");
  }

  get infos() {
    const [host, port] = [this.host.value.trim(), this.port.value.trim()];
    return {
      [`${this.direction}server`]: port ? `${host}:${port}` : host,
      [`${this.direction}tls`]: this.mode.value,
    };
  }
}

/** Split `host[:port]`; an IPv6 address with a port stands in brackets. */
function split(server) {
  const [, host, port] = /^(.*?)(?::(\d+))?$/.exec(server);
  return host.includes(":") && !host.endsWith("]") ? [server, ""] : [host, port ?? ""];
}
