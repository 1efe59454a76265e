// The two small questions the page asks, and the menu of a conversation.
import { byId, element, icon } from './dom.js';
import { t } from './language.js';

/** Opens a dialog and tells whether it was confirmed. @param {any} dialog @returns {Promise<boolean>} */
function ask(dialog) {
  return new Promise((resolve) => {
    dialog.querySelector('form').onsubmit = () => resolve(true);
    dialog.querySelector('[data-close]').onclick = () => dialog.close();
    dialog.onclick = (/** @type {MouseEvent} */ event) => { if (event.target === dialog) dialog.close(); }; // its backdrop
    // Chromium tells of a closing with the next frame, which may be after the dialog was opened again: that is no answer to this question.
    dialog.onclose = () => { if (!dialog.open) resolve(false); };
    dialog.showModal();
  });
}

/** @param {string} title now @returns {Promise<string | null>} the new one, or null */
export async function askTitle(title) {
  const box = byId('rename-box');
  box.value = title;
  const answer = ask(byId('rename'));
  box.select();
  return await answer && box.value.trim() !== '' && box.value.trim() !== title ? box.value.trim() : null;
}

/** @param {string} title */
export function confirmDelete(title) {
  byId('confirm-text').textContent = t('deleteText', { title });
  return ask(byId('confirm'));
}

/**
 * @typedef {{icon: string, label: string, run: () => void, danger?: boolean, checked?: boolean}} Item one with `checked` is on or off
 *
 * A menu under a button; arrows move, Escape closes and gives the focus back.
 * @param {any} button @param {Item[]} items
 * @returns {(at: number, item: Item) => void} puts in what is known late, if this menu is still there
 */
export function openMenu(button, items) {
  const menu = byId('actions');
  /** @param {Item} item */
  const entryOf = (item) => element('button', {
    type: 'button', role: item.checked === undefined ? 'menuitem' : 'menuitemcheckbox', 'aria-checked': item.checked, class: item.danger ? 'danger-text' : null,
    onclick: () => { menu.hidePopover(); button.focus(); item.run(); }, // a dialog gives the focus back to the button
  }, icon(item.icon), item.label);
  const entries = items.map(entryOf);
  menu.setAttribute('aria-label', button.getAttribute('aria-label'));
  menu.firstElementChild.replaceChildren(...entries);
  menu.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Tab') menu.hidePopover();
    if (!step) return;
    event.preventDefault();
    const at = entries.indexOf(/** @type {any} */ (document.activeElement));
    entries[(at + step + entries.length) % entries.length].focus();
  };
  button.setAttribute('aria-expanded', 'true');
  menu.ontoggle = (/** @type {ToggleEvent} */ event) => {
    if (event.newState !== 'closed') return;
    button.setAttribute('aria-expanded', 'false');
    if (menu.contains(document.activeElement) || document.activeElement === document.body) button.focus();
  };
  menu.showPopover();
  const settle = () => {
    const place = button.getBoundingClientRect();
    menu.style.top = `${Math.min(place.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
    menu.style.left = `${Math.max(8, Math.min(place.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
  };
  settle();
  entries[0].focus();
  return (at, item) => {
    if (!entries[at].isConnected || !menu.matches(':popover-open')) return;
    entries.splice(at, 0, entryOf(item));
    entries[at + 1].before(entries[at]);
    settle();
  };
}
