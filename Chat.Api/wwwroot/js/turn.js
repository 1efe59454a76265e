// One turn on show: its words, its state, and what can be done with it.
import { announce, element, fit, icon, iconButton } from './dom.js';
import { feedbackForm } from './feedback.js';
import { t } from './language.js';
import { paint } from './markdown.js';

/** @typedef {import('./conversation.js').Turn} Turn */

/**
 * What the page does when somebody presses a button here.
 * @typedef {object} TurnActions
 * @property {(turn: Turn) => void} regenerate
 * @property {(turn: Turn, text: string) => void} edit
 * @property {(turn: Turn) => void} editQuestion says differently what this reply answered
 * @property {(turn: Turn) => void} choose
 * @property {(turn: Turn) => void} retry the very same message again
 * @property {(turn: Turn) => void} putBack a message that was not accepted returns to the box
 * @property {(turn: Turn, rating: 'up' | 'down' | null, comment: string | null) => Promise<boolean>} rate whether it is stored
 */

/** After this long without a word the page says that the model is busy. */
const patience = 6_000;

export class TurnView {
  #words = element('div', { class: 'words', 'data-text': '' });
  #state = element('div', { class: 'state' });
  #bar = element('div', { class: 'bar' });
  /** @type {HTMLElement | null} */
  #panel = null;
  #drawn = '';
  #timer = 0;

  /** @param {Turn} turn @param {TurnActions} actions */
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.heading = element('h2', { class: 'hidden' });
    // Where only the newest turn shows its buttons, a tap shows those of another.
    this.#words.addEventListener('click', () => {
      for (const other of document.querySelectorAll('.turn.open')) if (other !== this.element) other.classList.remove('open');
      this.element.classList.toggle('open');
    });
    this.element = element('article', { class: `turn ${turn.role}`, 'data-role': turn.role }, this.heading, this.#words, this.#state, this.#bar);
  }

  /** Shows the words that are there now; cheap enough for every frame. */
  paint() {
    if (this.turn.role === 'assistant') paint(this.#words, this.turn.text);
    else if (this.#words.textContent !== this.turn.text) this.#words.textContent = this.turn.text;
    if (this.turn.text !== '' && this.#state.dataset.kind === 'waiting') this.#showState();
  }

  /**
   * Brings everything up to date, and leaves alone what did not change, so that focus stays where it is.
   * @param {Turn[]} versions of this turn @param {{busy: boolean, offline: boolean, language: string}} page
   */
  update(versions, page) {
    this.paint();
    const { state, rating, error, text } = this.turn;
    const drawn = JSON.stringify([state, rating, error?.code, text === '', versions.indexOf(this.turn), versions.length, page]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.offline = page.offline;
    this.element.classList.toggle('running', state === 'running');
    this.heading.textContent = t(this.turn.role === 'user' ? 'you' : 'assistant');
    this.#showState();
    this.#bar.replaceChildren(...this.#buttons(versions, page.busy));
  }

  #showState() {
    clearTimeout(this.#timer);
    const { turn } = this;
    const waiting = turn.state === 'running' && turn.text === '';
    this.#state.dataset.kind = waiting ? 'waiting' : turn.state;
    this.#state.replaceChildren(...(waiting ? this.#waiting() : this.#outcome()));
  }

  #waiting() {
    const waited = performance.now() - (this.turn.since ?? performance.now());
    const words = element('span', {}, this.offline ? t('unsent') : waited < patience ? t('waiting') : t('queued'));
    if (!this.offline && waited < patience) this.#timer = setTimeout(() => { words.textContent = t('queued'); }, patience - waited);
    return [element('span', { class: 'dots', 'aria-hidden': 'true' }, element('i'), element('i'), element('i')), words];
  }

  /** @returns {Node[]} */
  #outcome() {
    const { turn, actions } = this;
    switch (turn.state) {
      case 'stopped': return [element('span', {}, t('stopped'))];
      case 'length': return [element('span', {}, t('length'))];
      case 'refused': return [icon('shield'), element('span', {}, element('b', {}, t('refused')), ' ', t('refusedHint'), ' ', this.#button('editQuestion', () => actions.editQuestion(turn)))];
      case 'interrupted': return [icon('warn'), element('span', {}, t('interrupted')), this.#button('tryAgain', () => actions.regenerate(turn))];
      case 'failed': return this.#failure();
      default: return [];
    }
  }

  /** A limit counts down and then lets the message be sent again. */
  #failure() {
    const { turn, actions } = this;
    const words = element('span', { role: 'alert' }, turn.error?.sentence);
    const retry = this.#button('tryAgain', () => actions.retry(turn));
    const count = () => {
      const seconds = turn.error?.seconds ?? 0;
      retry.disabled = seconds > 0;
      if (turn.error?.code === 'limited') words.textContent = seconds > 0 ? turn.error.sentence : t('limitedOver');
      if (seconds > 0) this.#timer = setTimeout(count, 1000);
    };
    count();
    return [icon('warn'), words, retry, this.#button('back', () => actions.putBack(turn))];
  }

  /** @param {string} key @param {() => void} onclick */
  #button(key, onclick) {
    return element('button', { type: 'button', class: 'small', onclick }, t(key));
  }

  /** @param {Turn[]} versions @param {boolean} busy @returns {Node[]} */
  #buttons(versions, busy) {
    const { turn, actions } = this;
    if (turn.state === 'running' || turn.state === 'unsent' || turn.state === 'failed') return [];
    const buttons = this.#versionButtons(versions);
    if (turn.text !== '') buttons.push(this.#copyButton());
    if (turn.role === 'user') {
      buttons.push(iconButton('edit', t('edit'), () => this.startEdit(), { disabled: busy }));
      return buttons;
    }
    buttons.push(iconButton('again', t('regenerate'), () => actions.regenerate(turn), { disabled: busy }));
    if (turn.text !== '') {
      for (const rating of /** @type {const} */ (['up', 'down'])) {
        buttons.push(iconButton('thumb', t(rating), () => this.#rate(rating), { 'aria-pressed': turn.rating === rating, 'data-icon': rating }));
      }
    }
    return buttons;
  }

  /** @param {Turn[]} versions @returns {Node[]} */
  #versionButtons(versions) {
    const at = versions.indexOf(this.turn);
    if (versions.length < 2) return [];
    const step = (/** @type {string} */ name, /** @type {string} */ key, /** @type {number} */ to) =>
      iconButton(name, t(key), () => this.actions.choose(versions[to]), { disabled: to < 0 || to >= versions.length });
    return [element('span', { class: 'versions', role: 'group', 'aria-label': t('version', { n: at + 1, count: versions.length }) },
      step('left', 'previous', at - 1), element('span', {}, `${at + 1}/${versions.length}`), step('right', 'next', at + 1))];
  }

  #copyButton() {
    const button = iconButton('copy', t('copy'), async () => {
      try {
        await navigator.clipboard.writeText(this.turn.text);
        announce(t('copied'));
        button.replaceChildren(icon('check'));
        setTimeout(() => button.replaceChildren(icon('copy')), 1500);
      } catch {
        announce(t('copyFailed'));
      }
    });
    return button;
  }

  /** Pressing again takes the rating back. @param {'up' | 'down'} rating */
  #rate(rating) {
    const next = this.turn.rating === rating ? null : rating;
    this.#closePanel();
    void this.actions.rate(this.turn, next, null);
    if (next === null) return;
    this.#openPanel(feedbackForm(next, async (comment) => {
      this.#closePanel();
      if (comment !== null && await this.actions.rate(this.turn, next, comment)) announce(t('thanks'));
    }));
  }

  startEdit() {
    const box = element('textarea', { rows: 1, 'aria-label': t('editLabel'), maxlength: 20_000, oninput: () => fit(box) });
    box.value = this.turn.text;
    const close = () => { this.#closePanel(); this.element.classList.remove('editing'); };
    const save = () => {
      const text = box.value;
      if (text.trim() === '') return;
      close();
      if (text !== this.turn.text) this.actions.edit(this.turn, text);
    };
    const form = element('form', { class: 'panel edit', onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); save(); } },
      box,
      element('p', { class: 'summary' }, t('editHint')),
      element('p', { class: 'buttons' }, element('button', { type: 'button', onclick: close }, t('cancel')), element('button', { class: 'primary', type: 'submit' }, t('send'))));
    form.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target === box) { event.preventDefault(); save(); }
      if (event.key === 'Escape' && !event.isComposing) { event.stopPropagation(); close(); }
    });
    this.#closePanel();
    this.element.classList.add('editing');
    this.#openPanel(form);
    fit(box);
    box.focus();
  }

  /** @param {HTMLElement} panel */
  #openPanel(panel) {
    this.#panel = panel;
    this.element.append(panel);
    panel.scrollIntoView({ block: 'nearest' });
  }

  #closePanel() {
    const hadFocus = this.#panel?.contains(document.activeElement);
    this.#panel?.remove();
    this.#panel = null;
    if (hadFocus) this.#bar.querySelector('button:last-of-type')?.focus();
  }
}
