// The two languages: one JSON file each, same keys; the page holds no words of its own.
import { memory } from './dom.js';

/** @type {Record<string, any>} */
let words = {};
const supported = ['zh', 'en'];
const changed = new EventTarget();

/** The language in use, zh or en. */
export let language = supported.find((known) => known === memory.get('language'))
  ?? (navigator.languages.find((wanted) => /^(zh|en)\b/.test(wanted)) ?? 'en').slice(0, 2);

/** @param {string} key @param {Record<string, string | number>} [values] for the {holes} of the text @returns {any} */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return typeof text === 'string' ? text.replace(/\{(\w+)\}/g, (hole, name) => String(values[name] ?? hole)) : text;
}

/** A time in words: 1 second, 12 seconds. @param {number} count */
export const seconds = (count) => new Intl.NumberFormat(language, { style: 'unit', unit: 'second', unitDisplay: 'long' }).format(count);

/** Runs whenever the words have changed, the first time included. @param {() => void} draw */
export function inEachLanguage(draw) {
  changed.addEventListener('change', draw);
}

/** @param {string} [wanted] */
export async function loadLanguage(wanted = language) {
  const answer = await fetch(`i18n/${wanted}.json`);
  words = await answer.json();
  language = wanted;
  document.documentElement.lang = wanted === 'zh' ? 'zh-CN' : 'en';
  for (const node of document.querySelectorAll('[data-text-key]')) node.textContent = t(/** @type {HTMLElement} */ (node).dataset.textKey ?? '');
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-label-key]'))) {
    node.setAttribute('aria-label', t(node.dataset.labelKey ?? ''));
    if (node.tagName === 'BUTTON') node.title = t(node.dataset.labelKey ?? '');
  }
  for (const node of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('[data-placeholder-key]'))) node.placeholder = t(node.dataset.placeholderKey ?? '');
  changed.dispatchEvent(new Event('change'));
}

/** Switches between the two and remembers it. */
export async function switchLanguage() {
  const other = language === 'zh' ? 'en' : 'zh';
  await loadLanguage(other);
  memory.set('language', other);
}
