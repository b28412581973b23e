"""Mail: the messages that we have promised to deliver, their deliveries, and each attempt."""

from __future__ import annotations

from sortingoffice.core import model
from sortingoffice.store.schema.columns import at, count, flag, key, octets, partial, table, text, to, word

message = table(
    "message",
    key(),
    text("token", unique=True),
    word("direction", model.Direction),
    to("account", null=True),
    to("relationship", null=True, index=True),
    text("sender"),
    text("origin"),
    text("results"),
    octets("fingerprint", null=True, index=True),
    text("rule"),
    text("subject"),
    flag("bulk"),
    flag("authenticated"),
    flag("utf8"),
    count("size"),
    at("accepted"),
    octets("raw"),
)

delivery = table(
    "delivery",
    key(),
    to("message", index=True),
    to("account", null=True),
    to("relationship", null=True),
    to("contact", null=True),
    text("recipient"),
    text("destination"),
    text("return_domain"),
    word("state", model.DeliveryState),
    text("reason"),
    count("attempts"),
    at("due"),
    at("expires"),
    flag("delay_told"),
    text("lease_node"),
    at("lease_until", null=True),
    text("last_reply"),
    at("created"),
    at("ended", null=True),
    text("accepted_for"),
)

attempt = table(
    "attempt",
    key(),
    to("delivery", index=True),
    at("at"),
    text("host"),
    text("tls"),
    text("reply"),
    count("milliseconds"),
)

mta_sts = table(
    "mta_sts",
    key(),
    text("domain", unique=True),
    text("record"),
    octets("text"),
    at("fetched"),
    at("expires"),
)

# What `leases.claim` looks at: by time, and where a backlog stands in the way, by destination.
partial("ix_delivery_queued", "state = 'queued'", delivery.c.due)
partial("ix_delivery_destination", "state = 'queued'", delivery.c.destination, delivery.c.due)
partial("ix_delivery_leased", "lease_node <> ''", delivery.c.lease_node, delivery.c.destination)
partial("ix_delivery_held", "state = 'held'", delivery.c.account_id)
# What housekeeping looks at.
partial("ix_message_outward", "direction = 'outward'", message.c.account_id, message.c.accepted)
partial("ix_message_kept", "length(raw) > 0", message.c.accepted)
