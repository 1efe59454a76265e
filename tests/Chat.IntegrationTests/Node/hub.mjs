// A day with the hub, as somebody else's client lives it: node hub.mjs ADDRESS json|messagepack. Its last line is one JSON object; the tests
// judge it. They hold the reply to "tell me" at its tenth token until this writes "attached", and the reply to "never end" for good.
import { HubConnectionBuilder, HttpTransportType, JsonHubProtocol, LogLevel } from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

const [address, protocol] = process.argv.slice(2);

const connect = async () => {
  const hub = new HubConnectionBuilder()
    .withUrl(`${address}/hubs/chat`, { skipNegotiation: true, transport: HttpTransportType.WebSockets })
    .withHubProtocol(protocol === 'messagepack' ? new MessagePackHubProtocol() : new JsonHubProtocol())
    .configureLogging(LogLevel.None)
    .build();
  await hub.start();
  return hub;
};

/** Collects a stream's events; stops listening early when enough says so. */
const collect = (stream, enough = () => false) => new Promise((resolve, reject) => {
  const events = [];
  const subscription = stream.subscribe({
    next: (event) => {
      events.push(event);
      if (enough(events)) {
        subscription.dispose();
        resolve(events);
      }
    },
    complete: () => resolve(events),
    error: reject,
  });
});

const message = (conversationId, messageId, text) => ({ conversationId, messageId, text, replyTo: null, options: null });
const errorOf = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return error.message;
  }
};

const seen = {};
let hub = await connect();
const { conversationId, ...started } = await hub.invoke('StartConversation', null);
seen.started = { conversationId, ...started };

seen.sent = await collect(hub.stream('Send', message(conversationId, 'm1', 'good morning')));
seen.sentAgain = await collect(hub.stream('Send', message(conversationId, 'm1', 'good morning')));
seen.conflict = await errorOf(() => collect(hub.stream('Send', message(conversationId, 'm1', 'something else'))));

// A cut in mid-reply: the connection goes, another comes and asks for the rest.
const before = await collect(hub.stream('Send', message(conversationId, 'm2', 'tell me')), (events) => events.length === 2);
seen.busy = await errorOf(() => collect(hub.stream('Send', message(conversationId, 'm3', 'and this'))));
await hub.stop();
hub = await connect();
const rest = collect(hub.stream('Attach', conversationId, before[0].replyId, before.at(-1).sequence));
console.log('attached');
seen.cut = [...before, ...await rest];
seen.replayed = await collect(hub.stream('Attach', conversationId, before[0].replyId, 0));
seen.beyond = await collect(hub.stream('Attach', conversationId, before[0].replyId, 10_000));

// Stop while it runs.
const running = [];
const over = collect(hub.stream('Send', message(conversationId, 'm4', 'never end')), (events) => { running.splice(0, running.length, ...events); return false; });
while (running.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
await hub.invoke('Stop', conversationId, running[0].replyId);
seen.shownWhenStopped = running.length;
seen.stopped = await over;

seen.regenerated = await collect(hub.stream('Regenerate', conversationId, seen.sent[0].replyId, 'r1', null));
seen.edited = await collect(hub.stream('Edit', conversationId, 'm1', 'm1-b', 'good evening'));
await hub.invoke('Rate', conversationId, seen.sent[0].replyId, 'up', '#kind thank you');
seen.history = await hub.invoke('History', conversationId, null, 200);
seen.lastTwo = await hub.invoke('History', conversationId, null, 2);
seen.errors = {
  unknown: await errorOf(() => hub.invoke('History', 'nobody', null, 10)),
  limit: await errorOf(() => hub.invoke('History', conversationId, null, 0)),
  rating: await errorOf(() => hub.invoke('Rate', conversationId, seen.sent[0].replyId, 'great', null)),
  option: await errorOf(() => collect(hub.stream('Send', { ...message(conversationId, 'm5', 'hello'), options: { decoding: { warmth: 3 } } }))),
  long: await errorOf(() => collect(hub.stream('Send', message(conversationId, 'm6', 'x'.repeat(20_001))))),
};
await hub.stop();
console.log(JSON.stringify(seen));
