// A plain client in another language: publishes and adds what a line of standard input says, and prints what it reads.
import { createClient } from "redis";
import { createInterface } from "node:readline";

const client = await createClient({ url: process.argv[2] }).connect();
const listening = await client.duplicate().connect();

function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, name, value] = JSON.parse(line);
  if (verb === "subscribe") {
    await listening.subscribe(name, (text) => say(["message", text]));
    say("subscribed");
  } else if (verb === "publish") {
    say(await client.publish(name, value));
  } else if (verb === "add") {
    say(await client.xAdd(name, "*", value));
  } else if (verb === "range") {
    say(await client.xRange(name, "-", "+"));
  }
}
client.destroy();
listening.destroy();
