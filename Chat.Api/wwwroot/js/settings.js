// Which model answers, and how it chooses its words. Lives as long as the page: what stays empty is the model's own choice.
import { listBots, listModels, listPlugins } from './api.js';
import { byId, element } from './dom.js';
import { inEachLanguage, t } from './language.js';

const numbers = ['temperature', 'topP', 'maxTokens', 'seed'];

export class Settings {
  #dialog = byId('settings');
  #model = byId('set-model');
  #strategy = byId('set-strategy');
  #bot = byId('set-bot');
  /** @type {{id: string}[]} */
  #models = [];
  /** @type {{name: string, summary?: string}[]} */
  #strategies = [];
  /** @type {{name: string, greeting?: string}[]} */
  #bots = [];

  /** @param {() => void} onchange runs when somebody has looked at the settings, or they were loaded */
  constructor(onchange) {
    this.onchange = onchange;
    byId('tune').addEventListener('click', () => void this.#open());
    byId('set-reset').addEventListener('click', () => this.#reset());
    this.#strategy.addEventListener('change', () => this.#describe());
    this.#dialog.addEventListener('click', (/** @type {Event} */ event) => { if (event.target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener('close', () => {
      this.#label();
      this.onchange();
    });
    // Escape on a form with an impossible number must not keep it.
    this.#dialog.addEventListener('cancel', () => { for (const box of this.#boxes()) if (!box.validity.valid) box.value = ''; });
    inEachLanguage(() => this.#fill());
  }

  async load() {
    [this.#models, this.#bots] = await Promise.all([listModels().then((list) => list.data, () => []), listBots().catch(() => [])]);
    this.#fill();
    this.onchange();
  }

  /** The bot that a new conversation begins with; null = the server's first. */
  get bot() {
    return this.#bot.value || null;
  }

  /** What that bot says first, if anything. */
  get greeting() {
    return (this.#bots.find((bot) => bot.name === this.#bot.value) ?? this.#bots[0])?.greeting ?? '';
  }

  /** What a message carries; null when everything is left to the model. @returns {object | null} */
  get options() {
    const decoding = Object.fromEntries(this.#boxes().filter((box) => box.value !== '' && box.validity.valid).map((box) => [box.id.slice(4), box.valueAsNumber]));
    if (this.#strategy.value) decoding.strategy = this.#strategy.value;
    const options = { ...(this.#model.value && { model: this.#model.value }), ...(Object.keys(decoding).length > 0 && { decoding }) };
    return Object.keys(options).length > 0 ? options : null;
  }

  /** @returns {HTMLInputElement[]} */
  #boxes() {
    return numbers.map((name) => byId(`set-${name}`));
  }

  /** The long list of plugins is fetched by those who look at it. */
  async #open() {
    this.#dialog.showModal();
    if (this.#models.length === 0) await this.load();
    if (this.#strategies.length > 0) return;
    this.#strategies = await listPlugins().then((plugins) => plugins.filter((plugin) => plugin.kind === 'decoding'), () => []);
    this.#fill();
  }

  #reset() {
    for (const box of [this.#bot, this.#model, this.#strategy, ...this.#boxes()]) box.value = '';
    this.#describe();
  }

  #fill() {
    const fill = (/** @type {any} */ select, /** @type {string} */ first, /** @type {string[]} */ names) => {
      const { value } = select;
      select.replaceChildren(element('option', { value: '' }, first), ...names.map((name) => element('option', { value: name }, name)));
      select.value = names.includes(value) ? value : '';
    };
    byId('bots').hidden = this.#bots.length < 2;
    fill(this.#bot, t('default', { name: this.#bots[0]?.name ?? '' }), this.#bots.slice(1).map((bot) => bot.name));
    fill(this.#model, t('default', { name: this.#models[0]?.id ?? '' }), this.#models.map((model) => model.id));
    fill(this.#strategy, t('strategyDefault'), this.#strategies.map((strategy) => strategy.name));
    this.#describe();
    this.#label();
  }

  #describe() {
    const chosen = this.#strategies.find((strategy) => strategy.name === this.#strategy.value);
    byId('set-summary').textContent = chosen ? t('strategies')[chosen.name] ?? chosen.summary ?? '' : '';
  }

  #label() {
    byId('model').textContent = [this.#model.value || this.#models[0]?.id, this.#strategy.value].filter(Boolean).join(' · ');
  }
}
