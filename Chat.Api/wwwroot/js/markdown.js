// Markdown as a chat model writes it, built from DOM nodes. Hostile text stays text: no HTML, no pictures, links to http, https and mailto only.
// Every step is linear in the text, and where there is no markup the element's textContent is the text itself, blank lines included.
import { element } from './dom.js';

/** What an element already shows, block by block. @type {WeakMap<Element, string[]>} */
const shown = new WeakMap();

/**
 * Shows a text, keeping every block that did not change: a stream only ever repaints its last one.
 * @param {Element} target @param {string} text
 */
export function paint(target, text) {
  const blocks = split(text);
  const before = shown.get(target) ?? [];
  let same = 0;
  while (same < blocks.length && blocks[same] === before[same]) same++;
  while (target.childNodes.length > same) target.lastChild?.remove();
  for (const block of blocks.slice(same)) target.append(render(block));
  shown.set(target, blocks);
}

/** What a line begins when no fence is open. @param {string} line */
function kindOf(line) {
  if (line.trim() === '') return 'blank';
  if (/^ {0,3}(```|~~~)/.test(line)) return 'fence';
  if (/^#{1,6}\s/.test(line)) return 'heading';
  if (/^ {0,3}>/.test(line)) return 'quote';
  return /^\s*([-*+]|\d{1,9}[.)])\s+\S/.test(line) && !/^ {0,3}([-*_])( *\1){2,}\s*$/.test(line) ? 'list' : 'text';
}

/**
 * Blocks and the blank lines between them, in turn; joined they are the text again.
 * @param {string} text
 */
function split(text) {
  /** @type {string[]} */
  const blocks = [];
  let kind = '';
  let fence = '';
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    const next = fence === '' ? kindOf(line) : 'fence';
    const joins = next === kind && (fence !== '' || (next !== 'fence' && next !== 'heading')) || (kind === 'list' && next === 'text');
    if (joins) {
      blocks[blocks.length - 1] += line;
    } else {
      blocks.push(line);
      kind = next;
    }
    if (next !== 'fence') continue;
    const marks = /^ {0,3}(```+|~~~+)/.exec(line)?.[1] ?? '';
    if (fence === '') fence = marks;
    else if (marks.startsWith(fence) && line.trim() === marks) fence = kind = '';
  }
  return blocks;
}

/** @param {string} block @returns {Node} */
function render(block) {
  if (block.trim() === '') return document.createTextNode(block);
  const lines = block.replace(/\n$/, '').split('\n');

  const fence = /^ {0,3}(```+|~~~+)/.exec(block);
  if (fence) {
    const closed = lines.length > 1 && lines.at(-1)?.trim() === fence[1];
    return element('pre', { tabindex: 0 }, element('code', {}, lines.slice(1, closed ? -1 : undefined).join('\n')));
  }
  const heading = /^(#{1,6})\s+(.*)/.exec(block);
  if (heading) return element(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2]));
  if (/^ {0,3}([-*_])( *\1){2,} *$/.test(lines[0]) && lines.length === 1) return element('hr');
  if (lines.every((line) => /^ {0,3}>/.test(line))) return element('blockquote', {}, inline(lines.map((line) => line.replace(/^ {0,3}> ?/, '')).join('\n')));
  if (lines.length > 1 && lines[0].includes('|') && /^[\s|:-]*-[\s|:-]*$/.test(lines[1]) && lines[1].includes('|')) return table(lines);
  if (/^\s*([-*+]|\d{1,9}[.)])\s+\S/.test(lines[0])) return list(lines);
  return element('p', {}, inline(block));
}

/** @param {string[]} lines */
function table(lines) {
  const cells = (/** @type {string} */ row) => row.trim().replace(/^\||\|$/g, '').split('|').map((cell) => inline(cell.trim()));
  const head = element('tr', {}, cells(lines[0]).map((cell) => element('th', { scope: 'col' }, cell)));
  const rows = lines.slice(2).map((row) => element('tr', {}, cells(row).map((cell) => element('td', {}, cell))));
  return element('div', { class: 'wide', tabindex: 0 }, element('table', {}, element('thead', {}, head), element('tbody', {}, rows)));
}

/** A deeper indent is a list within the item; a line without a marker goes on with the item. @param {string[]} lines */
function list(lines) {
  /** @type {{indent: number, node: Element}[]} */
  const open = [];
  let top;
  for (const line of lines) {
    const marker = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/.exec(line);
    if (!marker) {
      open.at(-1)?.node.lastElementChild?.append('\n', ...inline(line.trim()));
      continue;
    }
    const indent = marker[1].length;
    while (open.length > 1 && indent < open[open.length - 1].indent) open.pop();
    if (open.length === 0 || (indent > open[open.length - 1].indent + 1 && open.length < 6)) {
      const number = parseInt(marker[2], 10);
      const node = Number.isNaN(number) ? element('ul') : element('ol', { start: number === 1 ? null : number });
      open.at(-1)?.node.lastElementChild?.append(node);
      open.push({ indent, node });
      top ??= node;
    }
    open[open.length - 1].node.append(element('li', {}, inline(marker[3])), '\n');
  }
  return /** @type {Node} */ (top);
}

/** Delimiters and what they make, the longer before its part. @type {[string, string][]} */
const pairs = [['**', 'strong'], ['__', 'strong'], ['~~', 'del'], ['*', 'em'], ['_', 'em']];
const special = /[\\`*_~[<]|https?:\/\//g;
const deepest = 6;

/**
 * @param {string} text @param {number} [depth] of markup within markup
 * @returns {(Node | string)[]}
 */
function inline(text, depth = 0) {
  /** @type {(Node | string)[]} */
  const out = [];
  /** A delimiter's next fitting place, or -1. It serves every later search up to there, which keeps the whole linear. @type {Map<string, number>} */
  const found = new Map();
  let plain = 0;
  let at = 0;

  const find = (/** @type {string} */ what, /** @type {number} */ from, /** @type {(index: number) => boolean} */ fits = () => true) => {
    const last = found.get(what) ?? 0;
    if (last < 0 || last >= from) return last;
    let index = text.indexOf(what, from);
    while (index >= 0 && !fits(index)) index = text.indexOf(what, index + 1);
    found.set(what, index);
    return index;
  };
  const emit = (/** @type {number} */ end, /** @type {(Node | string)[]} */ ...nodes) => {
    if (plain < at) out.push(text.slice(plain, at));
    out.push(...nodes);
    plain = at = end;
  };

  while (at < text.length) {
    special.lastIndex = at;
    const hit = special.exec(text);
    if (!hit) break;
    at = hit.index;
    const rest = text[at];

    if (rest === '\\') {
      if (/[\\`*_~[\]()<>#|]/.test(text[at + 1] ?? '')) emit(at + 2, text[at + 1]); else at++;
    } else if (rest === '`') {
      const run = /** @type {RegExpExecArray} */ (/`+/y.exec(text.slice(at, at + 20)))[0];
      const end = find(run, at + run.length, (index) => text[index - 1] !== '`' && text[index + run.length] !== '`');
      if (end > 0) emit(end + run.length, element('code', {}, text.slice(at + run.length, end))); else at += run.length;
    } else if (rest === '[') {
      const middle = find('](', at + 1);
      const end = middle < 0 || middle - at > 400 ? -1 : find(')', middle + 2);
      const address = end < 0 || end - middle > 2_000 ? null : safeAddress(text.slice(middle + 2, end));
      if (address && depth < deepest) emit(end + 1, link(address, inline(text.slice(at + 1, middle), deepest))); else at++;
    } else if (rest === 'h' || rest === '<') {
      const bareLink = /^<?(https?:\/\/[^\s<>"'`\u3000-\u303f\uff00-\uffef]+)(>?)/.exec(text.slice(at, at + 2_000));
      const bare = bareLink?.[1].replace(/[.,:;!?)\]*_~]+$/, '') ?? '';
      const address = bareLink ? safeAddress(bare) : null;
      const end = rest === '<' ? at + 2 + bare.length : at + bare.length;
      if (address && depth < deepest && (rest === 'h' || text[end - 1] === '>')) emit(end, link(address, [bare])); else at++;
    } else {
      const pair = pairs.find(([mark]) => text.startsWith(mark, at));
      const mark = pair?.[0] ?? '';
      const start = at + mark.length;
      const word = mark.startsWith('_') ? /[\p{L}\p{N}]/u : null; // snake_case is no emphasis
      const opens = pair && depth < deepest && /\S/.test(text[start] ?? ' ') && !word?.test(text[at - 1] ?? '');
      const end = !opens ? -1 : find(mark, start + 1, (index) => /\S/.test(text[index - 1])
        && !(mark.length === 1 && (text[index + 1] === mark || text[index - 1] === mark)) && !word?.test(text[index + mark.length] ?? ''));
      if (pair && end > 0) emit(end + mark.length, element(pair[1], {}, inline(text.slice(start, end), depth + 1))); else at += mark.length || 1;
    }
  }
  at = text.length;
  emit(at);
  return out;
}

/** @param {string} address @param {(Node | string)[]} words */
const link = (address, words) => element('a', { href: address, title: address, target: '_blank', rel: 'noopener noreferrer nofollow' }, words);

/** @param {string} text @returns {string | null} null unless the browser itself reads it as one of three harmless schemes */
function safeAddress(text) {
  if (!/^(https?:\/\/|mailto:)[^\s]+$/i.test(text)) return null;
  try {
    const address = new URL(text);
    return ['http:', 'https:', 'mailto:'].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}
