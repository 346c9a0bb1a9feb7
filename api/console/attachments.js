/**
 * The files of a draft: put on by choosing or dropping them, with progress, and taken off.
 * @module
 */

import { Problem, download, remove, upload } from "./api.js";
import { element, icon, newId } from "./dom.js";
import { notify } from "./notice.js";
import { iconButton } from "./widgets.js";

const UNITS = ["bytes", "kB", "MB", "GB"];

/** Return a size in words. */
function sizeInWords(bytes) {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  const number = bytes / 1000 ** power;
  return `${power === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)} ${UNITS[power]}`;
}

/** Return the path of an attachment. */
function pathOf(messageId, attachment) {
  return `/api/v2/messages/${encodeURIComponent(messageId)}/attachments/${encodeURIComponent(attachment.temp_id)}`;
}

/** Return a link-like button that stores an attachment, with its size. */
export function attachmentLink(messageId, attachment) {
  const store = () =>
    download(pathOf(messageId, attachment), attachment.file_name).catch((problem) =>
      notify(problem.message, { tone: "bad" }),
    );
  return [
    icon("attach"),
    element(
      "button",
      { class: "link file-name", type: "button", onclick: store, title: `Download ${attachment.file_name}` },
      attachment.file_name,
    ),
    element("span", { class: "file-size" }, sizeInWords(attachment.size)),
  ];
}

/** The list with its button; `ready()` resolves to the id of the draft, which it creates where there is none yet. */
export class Attachments {
  constructor({ messageId, attachments, ready, signal }) {
    Object.assign(this, { messageId, ready, signal });
    const id = newId("files");
    this.input = element("input", {
      class: "file-input",
      id,
      type: "file",
      multiple: true,
      onchange: () => this.chosen(),
    });
    this.list = element(
      "ul",
      { class: "files", "aria-label": "Attachments" },
      attachments.map((each) => this.row(each)),
    );
    this.control = element("label", { class: "button quiet", for: id }, icon("attach"), "Attach files");
    this.uploads = new Set();
    this.showIfAny();
  }

  /** Take files that are dropped on the node. */
  acceptDrops(node) {
    const isOfFiles = (event) => event.dataTransfer.types.includes("Files");
    node.addEventListener("dragover", (event) => {
      if (!isOfFiles(event)) return;
      event.preventDefault();
      node.classList.add("dropping");
    });
    node.addEventListener(
      "dragleave",
      (event) => node.contains(event.relatedTarget) || node.classList.remove("dropping"),
    );
    node.addEventListener("drop", (event) => {
      if (!isOfFiles(event)) return;
      event.preventDefault();
      node.classList.remove("dropping");
      this.add([...event.dataTransfer.files]);
    });
  }

  /** True while files are on their way to the gateway. */
  get isUploading() {
    return this.uploads.size > 0;
  }

  chosen() {
    this.add([...this.input.files]);
    this.input.value = "";
  }

  /** Upload files, one after the other. */
  async add(files) {
    const waiting = files.map((file) => [file, this.pendingRow(file)]);
    this.showIfAny();
    for (const [file, row] of waiting) await this.put(file, row);
  }

  async put(file, { node, progress, stop }) {
    try {
      this.messageId = await this.ready();
      stop.signal.throwIfAborted();
      const { temp_id: tempId } = await upload(`/api/v2/messages/${this.messageId}/attachments`, file, {
        progress: (share) => {
          progress.value = share;
        },
        signal: stop.signal,
      });
      node.replaceWith(this.row({ temp_id: tempId, file_name: file.name, size: file.size }));
    } catch (problem) {
      node.remove();
      if (problem instanceof Problem) notify(`${file.name}: ${problem.message}`, { tone: "bad" });
    } finally {
      this.uploads.delete(node);
      this.showIfAny();
    }
  }

  pendingRow(file) {
    const stop = new AbortController();
    const progress = element("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
    const node = element(
      "li",
      { class: "file" },
      icon("attach"),
      element("span", { class: "file-name" }, file.name),
      progress,
      iconButton(`Stop the upload of ${file.name}`, "close", () => stop.abort()),
    );
    this.list.append(node);
    this.uploads.add(node);
    return { node, progress, stop };
  }

  row(attachment) {
    const node = element(
      "li",
      { class: "file" },
      attachmentLink(this.messageId, attachment),
      iconButton(`Remove ${attachment.file_name}`, "close", () => this.takeOff(attachment, node)),
    );
    return node;
  }

  async takeOff(attachment, node) {
    try {
      await remove(pathOf(this.messageId, attachment));
      node.remove();
      this.showIfAny();
    } catch (problem) {
      notify(problem.message, { tone: "bad" });
    }
  }

  showIfAny() {
    this.list.hidden = this.list.childElementCount === 0;
  }
}
