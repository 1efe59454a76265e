// Why a reply was good or not: reasons to tick and a free word.
import { element, iconButton } from './dom.js';
import { t } from './language.js';

/** Travel as leading #words of the comment, the same in every language, so that they can be counted. */
const reasons = {
  up: ['accurate', 'kind', 'fun', 'well-put'],
  down: ['wrong', 'off-topic', 'repetitive', 'broken-language', 'rude', 'unsafe'],
};
const longestComment = 2_000;

/**
 * @param {'up' | 'down'} rating
 * @param {(comment: string | null) => void} done the comment, or null when closed without one
 */
export function feedbackForm(rating, done) {
  const ticked = new Set();
  const title = t(rating === 'up' ? 'feedbackUp' : 'feedbackDown');
  const chips = reasons[rating].map((reason) => {
    const chip = element('button', {
      type: 'button', class: 'chip', 'aria-pressed': false,
      onclick: () => {
        if (!ticked.delete(reason)) ticked.add(reason);
        chip.setAttribute('aria-pressed', String(ticked.has(reason)));
      },
    }, t('reasons')[reason]);
    return chip;
  });
  const box = element('textarea', { rows: 2, 'aria-label': t('comment'), placeholder: t('comment'), maxlength: longestComment - 100 });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const words = [...reasons[rating].filter((reason) => ticked.has(reason)).map((reason) => `#${reason}`), box.value.trim()].filter(Boolean);
    done(words.length > 0 ? words.join(' ') : null);
  };
  const form = element('form', { class: 'panel feedback', 'aria-label': title, onsubmit: submit },
    element('p', { class: 'panel-title' }, title, iconButton('close', t('close'), () => done(null))),
    element('div', { class: 'chips', role: 'group', 'aria-label': title }, ...chips),
    box,
    element('p', { class: 'buttons' }, element('button', { class: 'primary', type: 'submit' }, t('sendFeedback'))));
  form.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape' && !event.isComposing) { event.stopPropagation(); done(null); }
  });
  return form;
}
