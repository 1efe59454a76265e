// Who answers, and how the words are chosen. Kept in this browser; what stays empty is the model's own choice.
import { listBots, listModels, listPlugins } from './api.js';
import { byId, element, labelOf, memory } from './dom.js';
import { inEachLanguage, language, t } from './language.js';

const numbers = ['temperature', 'topP', 'maxTokens', 'seed'];
const choices = ['bot', 'model', 'strategy'];

export class Settings {
  #dialog = byId('settings');
  /** As they were last time, until the server says what there is to choose from. @type {Record<string, string>} */
  #kept = memory.table('settings');
  /** @type {{id: string, parameters: number, createdAt: string}[]} */
  #models = [];
  /** @type {{name: string, summary?: string}[]} */
  #strategies = [];
  /** @type {{name: string, greeting?: string}[]} */
  #bots = [];
  /** The bot of the conversation on show. @type {string | null} */
  #answering = null;

  /** @param {() => void} onchange runs when somebody has looked at the settings, or they were loaded */
  constructor(onchange) {
    this.onchange = onchange;
    for (const name of numbers) byId(`set-${name}`).value = this.#kept[name] ?? '';
    byId('tune').addEventListener('click', () => void this.#open());
    byId('set-reset').addEventListener('click', () => this.#reset());
    this.#dialog.addEventListener('change', () => this.#keep());
    this.#dialog.addEventListener('click', (/** @type {Event} */ event) => { if (event.target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener('close', () => {
      this.#label();
      this.onchange();
    });
    // Escape on a form with an impossible number must not keep it.
    this.#dialog.addEventListener('cancel', () => { for (const name of numbers) if (!byId(`set-${name}`).validity.valid) byId(`set-${name}`).value = ''; });
    inEachLanguage(() => this.#fill());
  }

  async load() {
    this.#bots = await listBots().catch(() => []);
    this.#fill();
    this.onchange();
  }

  /** The bot that a new conversation begins with; null = the server's first. */
  get bot() {
    return this.#kept.bot || null;
  }

  /** What that bot says first, if anything. */
  get greeting() {
    return (this.#bots.find((bot) => bot.name === this.bot) ?? this.#bots[0])?.greeting ?? '';
  }

  /** What a message carries; null when everything is left to the model. @returns {object | null} */
  get options() {
    const { model, strategy, ...others } = this.#kept;
    const decoding = Object.fromEntries(numbers.filter((name) => others[name]).map((name) => [name, Number(others[name])]));
    if (strategy) decoding.strategy = /** @type {any} */ (strategy);
    const options = { ...(model && { model }), ...(Object.keys(decoding).length > 0 && { decoding }) };
    return Object.keys(options).length > 0 ? options : null;
  }

  /** Names who answers in the conversation on show. @param {string | null} bot null = nobody yet */
  show(bot) {
    this.#answering = bot;
    this.#label();
  }

  /** The long lists are fetched by those who look at them. */
  async #open() {
    this.#dialog.showModal();
    if (this.#bots.length === 0) void this.load();
    if (this.#strategies.length > 0) return;
    [this.#models, this.#strategies] = await Promise.all([
      listModels().catch(() => []),
      listPlugins().then((plugins) => plugins.filter((plugin) => plugin.kind === 'decoding'), () => []),
    ]);
    this.#fill();
  }

  #reset() {
    for (const name of [...choices, ...numbers]) byId(`set-${name}`).value = '';
    this.#keep();
  }

  #keep() {
    const values = [...choices, ...numbers].map((name) => [name, byId(`set-${name}`)]).filter(([, box]) => box.value !== '' && box.validity.valid);
    this.#kept = Object.fromEntries(values.map(([name, box]) => [name, box.value]));
    memory.set('settings', values.length > 0 ? JSON.stringify(this.#kept) : null);
    this.#describe();
  }

  #fill() {
    // What was chosen last time stands alone until the list has come; then it must be in it.
    const fill = (/** @type {string} */ name, /** @type {string} */ first, /** @type {string[]} */ known) => {
      const select = byId(`set-${name}`);
      const wanted = this.#kept[name] ?? '';
      const names = known.length > 0 ? known : [wanted].filter(Boolean);
      select.replaceChildren(element('option', { value: '' }, first), ...names.map((value) => element('option', { value }, labelOf(value))));
      if (names.includes(wanted)) select.value = wanted; else delete this.#kept[name];
    };
    const byDefault = (/** @type {string | undefined} */ name) => name ? t('default', { name: labelOf(name) }) : t('automatic');
    byId('bots').hidden = this.#bots.length < 2;
    fill('bot', byDefault(this.#bots[0]?.name), this.#bots.map((bot) => bot.name).filter((name, index) => index > 0 || name === this.#kept.bot));
    fill('model', byDefault(this.#models[0]?.id), this.#models.map((model) => model.id));
    fill('strategy', t('strategyDefault'), this.#strategies.map((strategy) => strategy.name));
    this.#describe();
    this.#label();
  }

  /** What only those want to know who choose: a model's id, size and day. */
  #describe() {
    const model = this.#models.find(({ id }) => id === this.#kept.model) ?? this.#models[0];
    byId('set-details').textContent = model ? t('modelDetails', {
      id: model.id,
      n: new Intl.NumberFormat(language, { notation: 'compact', maximumSignificantDigits: 3 }).format(model.parameters),
      day: new Date(model.createdAt).toLocaleDateString(language, { dateStyle: 'medium' }),
    }) : '';
    const strategy = this.#strategies.find(({ name }) => name === this.#kept.strategy);
    byId('set-summary').textContent = strategy ? t('strategies')[strategy.name] ?? strategy.summary ?? '' : '';
  }

  #label() {
    const { bot, model, strategy } = this.#kept;
    byId('model').textContent = [this.#answering ?? bot ?? this.#bots[0]?.name, model, strategy].filter(Boolean).map((name) => labelOf(name ?? '')).join(' · ');
  }
}
