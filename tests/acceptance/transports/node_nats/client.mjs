// A plain NATS client in another language: publishes and asks what a line of standard input says, and prints what it reads.
import { connect, headers } from "nats";
import { createInterface } from "node:readline";

const [, , servers] = process.argv;
const client = await connect({ servers });
const encode = (text) => new TextEncoder().encode(text);
const decode = (data) => new TextDecoder().decode(data);

function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

function shown(message) {
  const found = {};
  for (const [name, values] of message.headers ?? []) found[name] = values[0];
  return [message.subject, decode(message.data), found];
}

function written(given) {
  const made = headers();
  for (const [name, value] of Object.entries(given ?? {})) made.set(name, value);
  return made;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, subject, body, given] = JSON.parse(line);
  if (verb === "subscribe") {
    client.subscribe(subject, { callback: (_error, message) => say(["message", ...shown(message)]) });
    await client.flush();
    say("subscribed");
  } else if (verb === "publish") {
    client.publish(subject, encode(body), { headers: written(given) });
    await client.flush();
    say("published");
  } else if (verb === "store") {
    const kept = await client.jetstream().publish(subject, encode(body), { headers: written(given) });
    say(["stored", kept.seq, kept.duplicate]);
  } else if (verb === "fetch") {
    const { streams } = await client.jetstreamManager();
    const message = await streams.getMessage(await streams.find(subject), { last_by_subj: subject });
    say(["message", message.subject, decode(message.data)]);
  } else if (verb === "request") {
    say(["answer", ...shown(await client.request(subject, encode(body), { timeout: 5000 })).slice(1)]);
  }
}
await client.close();
