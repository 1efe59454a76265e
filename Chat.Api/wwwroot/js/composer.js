// The message box: grows with its text, keeps a draft a conversation, and turns its button into Stop while a reply runs.
import { byId, fit, memory } from './dom.js';
import { t } from './language.js';

const longest = 20_000;

export class Composer {
  #form = byId('composer');
  #box = byId('message');
  #send = byId('send');
  #stop = byId('stop');
  #running = false;
  /** Which draft is in the box; '' is that of the conversation not begun. */
  #key = '';

  /** @param {{send: (text: string) => void, stop: () => void, tooLong: (length: number) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.#form.addEventListener('submit', (/** @type {Event} */ event) => { event.preventDefault(); this.#submit(); });
    this.#stop.addEventListener('click', () => actions.stop());
    this.#box.addEventListener('input', () => { this.#changed(); this.#keep(this.#box.value); });
    this.#box.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      // While an input method composes, Enter picks a candidate; old engines only tell by the code 229.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    this.#changed();
  }

  /** @param {boolean} running a reply of this conversation runs: the one button stops it */
  setRunning(running) {
    const hadFocus = document.activeElement === this.#stop;
    this.#running = running;
    this.#stop.hidden = this.#stop.disabled = !running;
    this.#send.hidden = running;
    if (hadFocus && !running) this.focus();
  }

  /** Brings the draft of a conversation into the box. @param {string | null} id */
  open(id) {
    this.#key = id ?? '';
    this.#box.value = memory.table('draft')[this.#key] ?? '';
    this.#changed();
  }

  /** A message is safe at the server, so it is no draft any more. @param {string} id of its conversation, which may have just begun @param {string} text @param {boolean} isOnShow */
  settle(id, text, isOnShow) {
    for (const key of ['', id]) if (memory.table('draft')[key] === text) this.forget(key);
    if (this.#key !== '' || !isOnShow) return;
    this.#keep('');
    this.#key = id;
    this.#keep(this.#box.value);
  }

  /** @param {string} text */
  put(text) {
    this.#box.value = text;
    this.#changed();
    this.#keep(text);
    this.focus();
  }

  focus() {
    this.#box.focus();
  }

  /** @param {string} id of a conversation that is gone, or whose draft was sent */
  forget(id) {
    memory.setRow('draft', id, null);
  }

  #submit() {
    const text = this.#box.value;
    if (this.#running || text.trim() === '') return;
    if (text.length > longest) {
      this.actions.tooLong(text.length);
      return;
    }
    this.#box.value = ''; // its draft stays until the server has the message
    this.#changed();
    this.actions.send(text);
  }

  #changed() {
    fit(this.#box);
    const { length } = this.#box.value;
    this.#send.disabled = this.#box.value.trim() === '';
    this.#form.dataset.count = length > longest - 2_000 ? t('characters', { n: length.toLocaleString('en') }) : '';
    this.#form.classList.toggle('too-long', length > longest);
  }

  /** @param {string} text */
  #keep(text) {
    memory.setRow('draft', this.#key, text || null);
  }
}
