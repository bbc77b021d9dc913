"""What a server with JetStream is, and what weakens what it keeps."""

from __future__ import annotations

from pabal.model.transport import Finding
from pabal.runtime.letter_channel import CHANNEL
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.options import JetStreamOptions
from pabal.transports.nats.jetstream.records import STREAM
from pabal.transports.nats.jetstream.streams import Streams
from pabal.transports.nats.jetstream.weaknesses import weaknesses


async def examine(connection: Connection, streams: Streams, options: JetStreamOptions) -> list[Finding]:
    """The lines of a doctor's report."""
    found = [
        Finding("ok", f"NATS {connection.version} with JetStream"),
        Finding("ok", f"it takes messages of up to {connection.max_payload:,} bytes, headers included"),
    ]
    weak: list[str] = []
    if options.storage != "file":
        weak.append("its streams are kept in memory: a restart of the server loses them")
    if connection.is_clustered and (options.replicas or 1) == 1:
        weak.append("streams are made on one server of the cluster alone; replicas=3 makes copies")
    configs = await streams.configs()
    if options.stream and not configs:
        found.append(Finding("bad", f"there is no stream {options.stream!r}, which the URL names: make it"))
    elif options.stream and not streams.keeps(configs[0], CHANNEL):
        weak.append(f"the stream {options.stream} keeps no channel {CHANNEL}: name a box by dead_letters=")
    for config in configs:
        weak += [f"the stream {config['name']} {each}" for each in weaknesses(config)]
    if connection.is_clustered:
        bucket = await streams.info(STREAM)  # without it nothing is handed out a second time
        weak += [
            f"the stream {config['name']} is on one server of the cluster alone"
            for config in (*configs, *([] if bucket is None else [bucket["config"]]))
            if config["num_replicas"] == 1
        ]
    return found + [Finding("weak", text) for text in weak]
