// Starts replies and follows them to their end, over lost connections and reloads.
import { ConnectionLost } from './connection.js';
import { ChatError } from './errors.js';

/** @typedef {import('./conversation.js').Conversation} Conversation */
/** @typedef {import('./conversation.js').Turn} Turn */
/** A hub method and its arguments, made anew for each attempt: the conversation has its id only once it was created. @typedef {() => [string, ...any[]]} Call */

/** An id nobody else has; crypto.randomUUID exists only on https and localhost. */
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * Events, each with `detail: {conversation, reply}`: 'text' (more words), 'change' (turns came, went or changed state), 'created' (the
 * conversation has its id), 'acknowledged' (the user's turn is durable), 'finished', and 'refused-call' (with `error`: nothing was stored).
 */
export class Replies extends EventTarget {
  /** What stop() needs to know of each running reply. @type {Map<Turn, {started: boolean, stopWanted: boolean, abort: AbortController}>} */
  #running = new Map();
  /** What each message of this page was sent with. @type {WeakMap<Turn, Call>} */
  #calls = new WeakMap();

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    super();
    this.connection = connection;
  }

  /** @param {Conversation} conversation @param {string} text @param {object | null} options */
  send(conversation, text, options) {
    const replyTo = conversation.path.findLast((turn) => turn.role === 'assistant')?.id ?? null;
    const messageId = newId();
    return this.#ask(conversation, messageId, text, replyTo, () => ['Send', { conversationId: conversation.id, messageId, text, replyTo, options }]);
  }

  /** @param {Conversation} conversation @param {Turn} turn the message to say differently @param {string} text */
  edit(conversation, turn, text) {
    const messageId = newId();
    return this.#ask(conversation, messageId, text, turn.replyTo, () => ['Edit', conversation.id, turn.id, messageId, text]);
  }

  /** The same call with the same ids once more: a message is never stored twice. @param {Conversation} conversation @param {Turn} question */
  retry(conversation, question) {
    Object.assign(question, { state: 'unsent', error: undefined });
    return this.#follow(conversation, this.#pending(conversation, question.id), question, /** @type {Call} */ (this.#calls.get(question)));
  }

  /** @param {Conversation} conversation @param {Turn} turn the reply that was not good enough @param {object | null} options */
  regenerate(conversation, turn, options) {
    const requestId = newId();
    return this.#follow(conversation, this.#pending(conversation, turn.replyTo), null, () => ['Regenerate', conversation.id, turn.id, requestId, options]);
  }

  /** Goes on listening to a reply that runs at the server. @param {Conversation} conversation @param {Turn} reply */
  attach(conversation, reply) {
    if (this.#running.has(reply)) return;
    return this.#follow(conversation, reply, null, () => ['Attach', conversation.id, reply.id, 0]);
  }

  /** @param {Conversation} conversation @param {Turn} reply */
  async stop(conversation, reply) {
    const run = this.#running.get(reply);
    if (run && !run.started) {
      run.stopWanted = true;
      if (this.connection.state !== 'online') run.abort.abort(new ChatError('unsent', ''));
      return;
    }
    await this.connection.invoke('Stop', conversation.id, reply.id);
  }

  /** @param {Conversation} conversation @param {string} id @param {string} text @param {string | null} replyTo @param {Call} call */
  #ask(conversation, id, text, replyTo, call) {
    const question = { id, role: /** @type {const} */ ('user'), text, state: 'unsent', replyTo };
    conversation.add(question);
    this.#calls.set(question, call);
    return this.#follow(conversation, this.#pending(conversation, id), question, call);
  }

  /** @param {Conversation} conversation @param {string | null} replyTo @returns {Turn} */
  #pending(conversation, replyTo) {
    const reply = { id: `pending-${newId()}`, role: /** @type {const} */ ('assistant'), text: '', state: 'running', replyTo, since: performance.now() };
    conversation.add(reply);
    return reply;
  }

  /**
   * @param {Conversation} conversation @param {Turn} reply @param {Turn | null} question is acknowledged by the first event
   * @param {Call} first the call that starts the reply; later ones attach to it
   */
  async #follow(conversation, reply, question, first) {
    const run = { started: first()[0] === 'Attach', stopWanted: false, abort: new AbortController() };
    this.#running.set(reply, run);
    this.#tell('change', conversation, reply);
    try {
      await this.#create(conversation, run.abort.signal);
      await this.#listen(conversation, reply, question, first, run);
    } catch (error) {
      this.#fail(conversation, reply, question, error, run.started);
    } finally {
      this.#running.delete(reply);
    }
    this.#tell('finished', conversation, reply);
  }

  /** Options travel with each message, so a conversation begins with its bot alone. @param {Conversation} conversation @param {AbortSignal} signal */
  async #create(conversation, signal) {
    while (conversation.id === null) {
      await this.connection.ready(signal);
      try {
        const { conversationId, title } = await this.connection.invoke('StartConversation', conversation.bot && { bot: conversation.bot });
        conversation.id = conversationId;
        conversation.title = title;
        this.dispatchEvent(new CustomEvent('created', { detail: { conversation } }));
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
      }
    }
  }

  /** @param {Conversation} conversation @param {Turn} reply @param {Turn | null} question @param {Call} first @param {{started: boolean, stopWanted: boolean, abort: AbortController}} run */
  async #listen(conversation, reply, question, first, run) {
    let sequence = 0;
    let text = '';
    let ended = false;

    const take = (/** @type {any} */ event) => {
      if (event.sequence <= sequence) return;
      sequence = event.sequence;
      if (event.type === 'started') {
        run.started = true;
        conversation.rename(reply, event.replyId);
        if (question) question.state = 'stop';
        this.#tell('acknowledged', conversation, reply);
        this.#tell('change', conversation, reply);
        if (run.stopWanted) void this.stop(conversation, reply).catch(() => { /* the stream itself tells how it ends */ });
      } else if (event.type === 'delta') {
        text += event.text;
        if (text.length < reply.text.length) return; // a replay catches up with what is already on show
        reply.text = text;
        this.#tell('text', conversation, reply);
      } else if (event.type === 'finished' || event.type === 'refused' || event.type === 'error') {
        ended = true;
        reply.state = event.type === 'finished' ? event.finishReason : event.type === 'refused' ? 'refused' : 'interrupted';
      }
    };

    for (let call = first(); !ended; call = sequence === 0 ? first() : ['Attach', conversation.id, reply.id, sequence]) {
      await this.connection.ready(run.abort.signal);
      try {
        await this.connection.stream(call, take, run.abort.signal);
        if (!ended) throw new ChatError('not_found', ''); // the log is gone; the history knows how it ended
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
      }
    }
  }

  /** @param {Conversation} conversation @param {Turn} reply @param {Turn | null} question @param {unknown} error @param {boolean} started */
  #fail(conversation, reply, question, error, started) {
    const refusal = error instanceof ChatError ? error : new ChatError('failed', String(error));
    if (started) {
      reply.state = 'interrupted';
    } else {
      conversation.remove(reply);
      if (question) Object.assign(question, { state: 'failed', error: refusal });
    }
    this.dispatchEvent(new CustomEvent('refused-call', { detail: { conversation, reply, question, error: refusal, started } }));
  }

  /** @param {string} type @param {Conversation} conversation @param {Turn} reply */
  #tell(type, conversation, reply) {
    this.dispatchEvent(new CustomEvent(type, { detail: { conversation, reply } }));
  }
}
