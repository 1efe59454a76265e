// Elements. Text is only ever set as text: nothing on this page turns a string into HTML, so nothing needs sanitising.

/** @param {string} id @returns {any} the element, which index.html is sure to have */
export const byId = (id) => document.getElementById(id);

const mostRows = 50;

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] onX = listener, true = bare attribute, false, null and undefined = absent; aria-* keep true and false as words
 * @param {...(Child | Child[])} children one by one or in lists: a call cannot have a hundred thousand arguments
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value == null || (value === false && !name.startsWith('aria-'))) continue;
    else node.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : String(value));
  }
  for (const child of children.flat()) if (child != null && child !== false) node.append(child);
  return node;
}

/** @param {string} name a symbol of index.html, without its i- @param {string} [more] a further class */
export function icon(name, more = '') {
  const namespace = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(namespace, 'svg');
  const use = document.createElementNS(namespace, 'use');
  svg.setAttribute('class', `icon ${more}`.trim());
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A button that shows an icon and tells its name to assistive technology and on hover.
 * @param {string} name @param {string} label @param {() => void} onclick @param {Record<string, any>} [attributes]
 */
export function iconButton(name, label, onclick, attributes = {}) {
  return element('button', { type: 'button', class: 'plain', 'aria-label': label, title: label, onclick, ...attributes }, icon(name, attributes['data-icon']));
}

/** Where a box does not grow with its text by style alone. @param {HTMLTextAreaElement} box */
export function fit(box) {
  if (CSS.supports('field-sizing', 'content')) return;
  box.style.height = 'auto';
  box.style.height = `${box.scrollHeight}px`;
}

/** Tells a screen reader, once and politely. @param {string} text */
export function announce(text) {
  byId('status').textContent = text;
}

/** An id in words: chat-teacher becomes Chat teacher. @param {string} id */
export function labelOf(id) {
  const words = id.replace(/[-_]+/g, ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A browser's storage may be forbidden altogether; then a visit simply remembers nothing. */
export const memory = {
  /** @param {string} key @param {'localStorage' | 'sessionStorage'} [storage] */
  get(key, storage = 'localStorage') {
    try { return window[storage].getItem(`chat.${key}`); } catch { return null; }
  },
  /** @param {string} key @param {string | null} value null forgets @param {'localStorage' | 'sessionStorage'} [storage] */
  set(key, value, storage = 'localStorage') {
    try {
      if (value === null) window[storage].removeItem(`chat.${key}`); else window[storage].setItem(`chat.${key}`, value);
    } catch { /* private mode */ }
  },
  /** @param {string} key @returns {Record<string, any>} */
  table(key) {
    try { return JSON.parse(this.get(key) ?? '{}') ?? {}; } catch { return {}; }
  },
  /** Sets one row of a table, which forgets its oldest rows. @param {string} key @param {string} row @param {any} value null forgets */
  setRow(key, row, value) {
    const { [row]: _, ...others } = this.table(key);
    const rows = Object.entries(others).slice(-mostRows);
    if (value !== null) rows.push([row, value]);
    this.set(key, rows.length > 0 ? JSON.stringify(Object.fromEntries(rows)) : null);
  },
};
